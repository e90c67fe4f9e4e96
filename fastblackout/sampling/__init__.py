"""Sampling: the reverse process of blackout diffusion, driven by a model."""

from .sampler import sample, sample_in_batches

__all__ = ["sample", "sample_in_batches"]
