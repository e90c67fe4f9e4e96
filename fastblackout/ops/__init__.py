"""The ops: one file each, holding docstring, checks and dispatch."""

from .binomial import binomial, binomial_log_prob
from .birth_loss import birth_loss
from .bridge import Stepped, bridge_step
from .poisson import poisson
from .tau_leap import Leaped, tau_leap_step
from .thin import Thinned, thin

__all__ = [
    "binomial",
    "binomial_log_prob",
    "birth_loss",
    "bridge_step",
    "poisson",
    "tau_leap_step",
    "thin",
]
_RESULTS = (Leaped, Stepped, Thinned)
