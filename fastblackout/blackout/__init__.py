"""The objects around a network: all that a training, a sampler and a bound ask of it."""

from .ends import count_bridge
from .losses import loss
from .model import BlackoutModel
from .transport import CountBridge

__all__ = ["BlackoutModel", "CountBridge", "count_bridge", "loss"]
