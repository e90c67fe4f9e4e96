"""The arithmetic of floats as IEEE 754 and NumPy have it by default, whatever the caller's thread is set to."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

from . import available

P = ParamSpec("P")
R = TypeVar("R")


def default_floats(function: Callable[P, R]) -> Callable[P, R]:
    """The function, for which numbers too small for a float are no errors (np.errstate), and subnormal ones are numbers
    like others (torch.set_flush_denormal). The C++ kernels see to that themselves."""

    @functools.wraps(function)
    def called(*args: P.args, **named: P.kwargs) -> R:
        compiler = getattr(sys.modules.get("torch"), "compiler", None)  # another thread may be importing torch
        if compiler is not None and compiler.is_compiling():  # which does not know NumPy's context, nor heed it
            return function(*args, **named)
        cpu = available.load("_cpu")
        with np.errstate(under="ignore"):
            if isinstance(cpu, str):
                return function(*args, **named)
            result: R = cpu.with_default_floats(functools.partial(function, *args, **named))
            return result

    return called
