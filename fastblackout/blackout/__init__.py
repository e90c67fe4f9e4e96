"""The objects around a network: all that a training, a sampler and a bound ask of it."""

from .count_bridges import CountBridge, count_bridge
from .losses import loss
from .model import BlackoutModel

__all__ = ["BlackoutModel", "CountBridge", "count_bridge", "loss"]
