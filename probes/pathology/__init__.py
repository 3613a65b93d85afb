"""What would spoil a search."""
