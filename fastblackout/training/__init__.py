"""Training: configurations, checkpoints, the trainer, and trained models read back."""
