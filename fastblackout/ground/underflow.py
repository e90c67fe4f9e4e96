"""Numbers too small for a float are no errors here, whatever np.seterr and np.errstate say: NumPy's own default."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def ignoring_underflow(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def called(*args: P.args, **named: P.kwargs) -> R:
        torch = sys.modules.get("torch")
        if torch is not None and torch.compiler.is_compiling():  # which does not know NumPy's context, nor heed it
            return function(*args, **named)
        with np.errstate(under="ignore"):
            return function(*args, **named)

    return called
