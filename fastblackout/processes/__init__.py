"""Continuous-time Markov processes on finitely many states: the noising processes of discrete diffusion."""

from .base import Process
from .evaluation import Evaluation
from .markov import MarkovProcess
from .pure_death import PureDeath
from .uniform import Uniform

__all__ = [
    "Evaluation",
    "MarkovProcess",
    "Process",
    "PureDeath",
    "Uniform",
]
