"""Single cells: a generative model of their counts (`pip install 'fastblackout[cells]'`)."""

from .model import CellModel

__all__ = ["CellModel"]
