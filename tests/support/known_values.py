"""Values for fixed cases, made of a linear congruence by + - * and comparisons alone, so that no version of any library
changes them."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastblackout as fb

KEY = fb.Philox(seed=0x9E3779B97F4A7C15, first_sample=5, call=7)
SHAPE = (4, 37)


def units(shape: tuple[int, ...], start: int) -> Any:
    """Float64 numbers in [0, 1), other ones for another start."""
    x, made = start, []
    for _ in range(int(np.prod(shape))):
        x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
        made.append((x >> 11) * 2.0**-53)
    return np.array(made).reshape(shape)


def whole(most: int, start: int, dtype: str = "int64", shape: tuple[int, ...] = SHAPE) -> Any:
    """Numbers in 0..most. Some are 0 and some are the most."""
    made = np.floor(units(shape, start) * (most + 1)).astype(dtype)
    made.reshape(-1)[::7], made.reshape(-1)[3::11] = 0, most
    return made


def between(low: float, high: float, start: int, dtype: str = "float64", shape: tuple[int, ...] = SHAPE) -> Any:
    return (low + (high - low) * units(shape, start)).astype(dtype)


def spread(start: int, *values: float) -> Any:
    """One of `values` for each element, in the order of a congruence."""
    return np.array(values)[np.floor(units(SHAPE, start) * len(values)).astype(int)]


def shapes(start: int) -> Any:
    """Of gamma draws."""
    return spread(start, 1e-9, 0.2, 0.99, 1.0, 3.5, 1e4)
