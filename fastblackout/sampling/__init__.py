"""Sampling: the reverse process of blackout diffusion, driven by a model.

The functions load at first use: the command line reads the samplers' names (names.py) without NumPy and torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .imputation import impute
    from .sampler import sample, sample_in_batches

__all__ = ["impute", "sample", "sample_in_batches"]


if not TYPE_CHECKING:  # which would take any name for one that there is

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = ".imputation" if name == "impute" else ".sampler"
        return getattr(import_module(home, __name__), name)
