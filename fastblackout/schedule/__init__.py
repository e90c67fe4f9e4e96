"""The noise schedule of blackout diffusion: survival probabilities, their tables and step indices."""

from .schedule import Schedule

__all__ = ["Schedule"]
