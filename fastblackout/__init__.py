"""fastblackout: exact, fused kernels for diffusion models on counts, and Blackout Diffusion on top of them.

Everything is loaded at first use: importing the package touches neither torch nor CUDA.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from . import cells as cells
    from . import data as data
    from . import diffusers as diffusers
    from . import distributions as distributions
    from . import evaluation as evaluation
    from . import heads as heads
    from . import jax as jax
    from . import models as models
    from . import ops as ops
    from . import photons as photons
    from . import processes as processes
    from . import reference as reference
    from . import sampling as sampling
    from . import training as training
    from .backends.select import use_backend as use_backend
    from .backends.wrong_values import check_values as check_values
    from .blackout import BlackoutModel as BlackoutModel
    from .blackout import CountBridge as CountBridge
    from .blackout import count_bridge as count_bridge
    from .blackout import loss as loss
    from .likelihood.any_process import process_bits_per_dim as process_bits_per_dim
    from .likelihood.any_process import sampler_bits_per_dim as sampler_bits_per_dim
    from .likelihood.blackout import bits_per_dim as bits_per_dim
    from .ops import *  # noqa: F403
    from .philox import STREAM_VERSION as STREAM_VERSION
    from .philox import Philox as Philox
    from .pretrained import load_pretrained as load_pretrained
    from .probability import Prob as Prob
    from .processes import Absorbing as Absorbing
    from .processes import Ehrenfest as Ehrenfest
    from .processes import ImmigrationDeath as ImmigrationDeath
    from .processes import MarkovProcess as MarkovProcess
    from .processes import PureDeath as PureDeath
    from .processes import RandomWalk as RandomWalk
    from .processes import Redraw as Redraw
    from .processes import Uniform as Uniform
    from .sampling.imputation import impute as impute
    from .sampling.sampler import sample as sample
    from .schedule.schedule import Schedule as Schedule
    from .training.execution import execution as execution
    from .training.run import train as train
    from .training.trained_model import load_run as load_run
    from .tuning.tune import tune as tune

_HOME = {
    "Absorbing": "processes",
    "BlackoutModel": "blackout",
    "CountBridge": "blackout",
    "Ehrenfest": "processes",
    "ImmigrationDeath": "processes",
    "MarkovProcess": "processes",
    "Philox": "philox",
    "Prob": "probability",
    "PureDeath": "processes",
    "RandomWalk": "processes",
    "Redraw": "processes",
    "STREAM_VERSION": "philox",
    "Schedule": "schedule",
    "Uniform": "processes",
    "bits_per_dim": "likelihood",
    "count_bridge": "blackout",
    "check_values": "backends.wrong_values",
    "execution": "training.execution",
    "impute": "sampling",
    "load_pretrained": "pretrained",
    "load_run": "training.trained_model",
    "loss": "blackout",
    "process_bits_per_dim": "likelihood",
    "sample": "sampling",
    "sampler_bits_per_dim": "likelihood",
    "train": "training.run",
    "tune": "tuning.tune",
    "use_backend": "backends.select",
}
_MODULES = (
    "cells", "data", "diffusers", "distributions", "evaluation", "heads", "jax", "models", "ops", "photons",
    "processes", "reference", "sampling", "training",
)  # fmt: skip


def _ops() -> ModuleType:
    """The ops, of which the package has all that their module lists."""
    return importlib.import_module(".ops", __name__)


if not TYPE_CHECKING:  # which would take any name for one that there is

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        elif name == "__all__":
            value = sorted(["__version__", "models", *_HOME, *_ops().__all__])
        elif not name.startswith("_") and name in _ops().__all__:
            value = getattr(_ops(), name)
        elif name in _MODULES or (not name.startswith("_") and find_spec(f".{name}", __name__) is not None):
            value = importlib.import_module(f".{name}", __name__)
        else:
            raise AttributeError(f"module 'fastblackout' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*__getattr__("__all__"), *_MODULES})
