"""Whether each item finds its partner."""
