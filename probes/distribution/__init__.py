"""How differently the two clouds are spread, centroids aside."""
