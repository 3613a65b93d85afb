"""Losses: embeddings or similarities in, a scalar out. They never see a model."""
