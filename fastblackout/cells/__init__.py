"""Single cells: a generative model of their counts, and how good generated ones are.

`pip install 'fastblackout[cells]'` brings what it needs.
"""

from .metrics import compare
from .model import CellModel
from .report import CellReport

__all__ = ["CellModel", "CellReport", "compare"]
