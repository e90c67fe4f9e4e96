"""Continuous-time Markov processes on finitely many states: the noising processes of discrete diffusion."""

from . import conversion
from .base import Process
from .ehrenfest import Ehrenfest
from .immigration_death import ImmigrationDeath
from .markov import MarkovProcess
from .matrices.evaluation import Evaluation
from .pure_death import PureDeath
from .random_walk import RandomWalk
from .rate_loss import (
    birth_death_loss,
    exact_rate_bound,
    prior_divergence,
    rate_divergence,
    rate_loss,
    score_entropy,
)
from .redraw import Absorbing, Redraw, Uniform
from .reversal import sample_reverse, simulate_reverse, tau_leap_reverse

__all__ = [
    "Absorbing",
    "Ehrenfest",
    "Evaluation",
    "ImmigrationDeath",
    "MarkovProcess",
    "Process",
    "PureDeath",
    "RandomWalk",
    "Redraw",
    "Uniform",
    "birth_death_loss",
    "conversion",
    "exact_rate_bound",
    "prior_divergence",
    "rate_divergence",
    "rate_loss",
    "sample_reverse",
    "score_entropy",
    "simulate_reverse",
    "tau_leap_reverse",
]
