"""Training adapters by gradients, on cached embeddings."""
