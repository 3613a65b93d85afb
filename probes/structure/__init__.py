"""Whether there is anything to align, and what a map keeps of it."""
