"""How far apart the two centroids lie, and what follows from it."""
