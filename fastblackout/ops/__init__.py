"""The ops: one file each, holding docstring and declaration. What is listed here is public as fastblackout.NAME too."""

from ..ground.named import name_all
from .bessel import bessel, bessel_log_prob
from .beta import beta
from .beta_binomial import beta_binomial
from .binomial import binomial
from .birth_loss import birth_loss
from .bridge import Stepped, bridge_step
from .capabilities import capabilities
from .categorical import CategoricalTable, categorical, categorical_bridge
from .categorical_rows import categorical_rows
from .energy_loss import energy_loss
from .gamma import gamma
from .hypergeometric import hypergeometric, hypergeometric_log_prob
from .log_probs import (
    beta_binomial_log_prob,
    beta_log_prob,
    binomial_log_prob,
    gamma_log_prob,
    negative_binomial_log_prob,
)
from .multinomial import multinomial, multinomial_log_prob
from .negative_binomial import negative_binomial
from .normal import normal
from .poisson import poisson
from .posterior_loss import posterior_loss
from .posterior_step import posterior_step
from .skellam import skellam, skellam_log_prob
from .split import split
from .tau_leap import Leaped, tau_leap_step
from .thin import Thinned, thin
from .transition import bridge_log_prob, thin_log_prob, transition_rows

__all__ = [
    "CategoricalTable",
    "Leaped",
    "Stepped",
    "Thinned",
    "bessel",
    "bessel_log_prob",
    "beta",
    "beta_binomial",
    "beta_binomial_log_prob",
    "beta_log_prob",
    "binomial",
    "binomial_log_prob",
    "birth_loss",
    "bridge_log_prob",
    "bridge_step",
    "capabilities",
    "categorical",
    "categorical_bridge",
    "categorical_rows",
    "energy_loss",
    "gamma",
    "gamma_log_prob",
    "hypergeometric",
    "hypergeometric_log_prob",
    "multinomial",
    "multinomial_log_prob",
    "negative_binomial",
    "negative_binomial_log_prob",
    "normal",
    "poisson",
    "posterior_loss",
    "posterior_step",
    "skellam",
    "skellam_log_prob",
    "split",
    "tau_leap_step",
    "thin",
    "thin_log_prob",
    "transition_rows",
]

name_all(globals())
