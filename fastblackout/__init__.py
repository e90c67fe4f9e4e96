"""fastblackout: exact, fused kernels for diffusion models on counts, and Blackout Diffusion on top of them.

Everything is loaded at first use: importing the package touches neither torch nor CUDA.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .backends import available as _natives

if TYPE_CHECKING:
    from . import models as models
    from .backends.available import capabilities as capabilities
    from .backends.select import use_backend as use_backend
    from .backends.wrong_values import check_values as check_values
    from .likelihood.any_process import process_bits_per_dim as process_bits_per_dim
    from .likelihood.any_process import sampler_bits_per_dim as sampler_bits_per_dim
    from .likelihood.blackout import bits_per_dim as bits_per_dim
    from .ops.binomial import binomial as binomial
    from .ops.binomial import binomial_log_prob as binomial_log_prob
    from .ops.birth_loss import birth_loss as birth_loss
    from .ops.bridge import Stepped as Stepped
    from .ops.bridge import bridge_step as bridge_step
    from .ops.categorical import CategoricalTable as CategoricalTable
    from .ops.categorical import categorical as categorical
    from .ops.categorical import categorical_bridge as categorical_bridge
    from .ops.poisson import poisson as poisson
    from .ops.tau_leap import Leaped as Leaped
    from .ops.tau_leap import tau_leap_step as tau_leap_step
    from .ops.thin import Thinned as Thinned
    from .ops.thin import thin as thin
    from .ops.transition import bridge_log_prob as bridge_log_prob
    from .ops.transition import thin_log_prob as thin_log_prob
    from .ops.transition import transition_rows as transition_rows
    from .philox import Philox as Philox
    from .probability import Prob as Prob
    from .processes import Absorbing as Absorbing
    from .processes import Ehrenfest as Ehrenfest
    from .processes import ImmigrationDeath as ImmigrationDeath
    from .processes import MarkovProcess as MarkovProcess
    from .processes import PureDeath as PureDeath
    from .processes import RandomWalk as RandomWalk
    from .processes import Uniform as Uniform
    from .sampling.sampler import sample as sample
    from .schedule.schedule import Schedule as Schedule
    from .training.run import train as train

_HOME = {
    "Absorbing": "processes",
    "CategoricalTable": "ops.categorical",
    "Ehrenfest": "processes",
    "ImmigrationDeath": "processes",
    "Leaped": "ops.tau_leap",
    "MarkovProcess": "processes",
    "Philox": "philox",
    "Prob": "probability",
    "PureDeath": "processes",
    "RandomWalk": "processes",
    "Schedule": "schedule",
    "Stepped": "ops.bridge",
    "Thinned": "ops.thin",
    "Uniform": "processes",
    "binomial": "ops",
    "binomial_log_prob": "ops",
    "birth_loss": "ops",
    "bits_per_dim": "likelihood",
    "bridge_log_prob": "ops",
    "bridge_step": "ops",
    "capabilities": "backends.available",
    "categorical": "ops",
    "categorical_bridge": "ops",
    "check_values": "backends.wrong_values",
    "poisson": "ops",
    "process_bits_per_dim": "likelihood",
    "sample": "sampling",
    "sampler_bits_per_dim": "likelihood",
    "tau_leap_step": "ops",
    "thin": "ops",
    "thin_log_prob": "ops",
    "train": "training.run",
    "transition_rows": "ops",
    "use_backend": "backends.select",
}
_MODULES = ("data", "evaluation", "models", "ops", "processes", "reference")

__all__ = ["__version__", *_HOME, "models"]

if (_hint := _natives.source_tree_hint()) is not None:
    warnings.warn(_hint, RuntimeWarning, stacklevel=2)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module 'fastblackout' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
