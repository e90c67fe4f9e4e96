"""Bounds on the negative log-likelihood, of blackout diffusion and of any Markov process."""

from .any_process import process_bits_per_dim, sampler_bits_per_dim
from .blackout import bits_per_dim

__all__ = ["bits_per_dim", "process_bits_per_dim", "sampler_bits_per_dim"]
