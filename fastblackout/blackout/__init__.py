"""Blackout Diffusion's one object: a network with all that a training, a sampler and a bound ask of it."""

from .losses import loss
from .model import BlackoutModel

__all__ = ["BlackoutModel", "loss"]
