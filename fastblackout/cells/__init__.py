"""Single cells: a generative model of their counts, how good generated ones are, and draws from file to file.

`pip install 'fastblackout[cells]'` brings what it needs.
"""

from .files import downsample, split, thin
from .metrics import compare
from .model import CellModel
from .report import CellReport

__all__ = ["CellModel", "CellReport", "compare", "downsample", "split", "thin"]
