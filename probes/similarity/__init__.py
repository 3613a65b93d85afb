"""Standard and learned similarities of a pair, and which is best."""
