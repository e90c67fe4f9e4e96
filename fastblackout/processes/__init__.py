"""Continuous-time Markov processes on finitely many states: the noising processes of discrete diffusion."""

from .absorbing import Absorbing
from .base import Process
from .ehrenfest import Ehrenfest
from .evaluation import Evaluation
from .immigration_death import ImmigrationDeath
from .markov import MarkovProcess
from .pure_death import PureDeath
from .random_walk import RandomWalk
from .uniform import Uniform

__all__ = [
    "Absorbing",
    "Ehrenfest",
    "Evaluation",
    "ImmigrationDeath",
    "MarkovProcess",
    "Process",
    "PureDeath",
    "RandomWalk",
    "Uniform",
]
