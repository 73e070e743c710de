"""What turns embeddings and identities into a loss: one file each; `_base` holds the loss."""
