"""Checks of what ops share: every error names op, argument, rule and value, and comes before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array
from ..backends.float_mode import default_floats
from ..ground.values import is_array, is_integer, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..philox import Philox

WORD = 1 << 32
_LARGEST = {"uint8": 255, "int16": (1 << 15) - 1, "int32": (1 << 31) - 1, "int64": (1 << 63) - 1}
_LARGEST |= {"uint16": (1 << 16) - 1, "uint32": (1 << 32) - 1, "float32": 1 << 24, "float64": 1 << 53}
MAX_COUNT = 1 << 53  # integers above are not all float64


def largest(dtype: str) -> int:
    """The count up to which a dtype holds every one."""
    return _LARGEST[dtype]


def max_count_of(op: str, max_count: Any, dtype: str, low: int = 1) -> int:
    """The declared largest count, at least `low`; 255 for uint8 when none is given."""
    if max_count is None:
        if dtype != "uint8":
            raise ValueError(
                f"{op}: max_count: must be given for {dtype} counts (uint8 alone has a default, 255), got None"
            )
        return 255
    if not is_integer(max_count):
        rule = "must be an integer"
        if is_array(max_count):
            rule += ", one for all elements (thin, bridge_step and tau_leap_step also take one for each)"
        raise TypeError(f"{op}: max_count: {rule}, got {shown(max_count)}")
    chosen, limit = int(max_count), min(_LARGEST[dtype], MAX_COUNT)
    if not low <= chosen <= limit:
        raise ValueError(f"{op}: max_count: must be in {low}..{limit} for {dtype} counts, got {shown(chosen)}")
    return chosen


def size_of(op: str, argument: str, array: Array) -> tuple[int, int]:
    """(samples, elements of a sample), which must fit the counter of the random numbers."""
    samples, elements = array.samples, array.elements
    if elements >= WORD:
        raise ValueError(f"{op}: {argument}: elements per sample must be below 2^32, got {elements}")
    return samples, elements


def check_range(op: str, key: Philox, samples: int) -> None:
    if key.first_sample + samples > WORD:
        raise ValueError(f"{op}: rng: first_sample + samples must be at most 2^32, got {key.first_sample} + {samples}")


def check_tensor(op: str, name: str, array: Array, value: Any) -> None:
    """TypeError unless `value`, adopted as `array`, is a torch tensor."""
    if not array.is_tensor:
        kind = type(value).__name__
        raise TypeError(f"{op}: {name}: must be a torch tensor like the other argument, got {kind}")


def same_shape(op: str, name: str, array: Array, other_name: str, other: Array) -> None:
    if array.shape != other.shape:
        raise ValueError(f"{op}: {name}: shape must be that of {other_name}, {other.shape}, got {array.shape}")
    same_device(op, name, array, other_name, other)


def same_library(op: str, name: str, array: Array, other_name: str, other: Array) -> None:
    if array.is_tensor != other.is_tensor:
        kind = type(array.value).__name__
        raise TypeError(f"{op}: {name}: must be of the library of {other_name}, got {kind}")


def has_samples(op: str, name: str, array: Array) -> None:
    if not array.shape:
        raise ValueError(f"{op}: {name}: must have a batch dimension, got shape ()")


def has_categories(op: str, name: str, shape: Sequence[Any]) -> None:
    if not shape or shape[-1] == 0:
        raise ValueError(f"{op}: {name}: must have a last axis of categories, got shape {tuple(shape)}")


@default_floats
def check_sums(op: str, name: str, weights: Any) -> None:
    """ValueError unless weights of categories, of NumPy or torch, have finite sums above 0."""
    with np.errstate(over="ignore"):
        total = weights.sum(-1)
    wrong = ~((total > 0) & (total < np.inf))
    if wrong.any():
        rule = "must have a finite sum above 0 over the last axis"
        raise ValueError(f"{op}: {name}: {rule}, got {float(total[wrong][0]):.17g}")


def same_device(op: str, name: str, array: Array, other_name: str, other: Array) -> None:
    if array.device != other.device or (array.device == "cuda" and array.value.device != other.value.device):
        here, there = (each.value.device if each.is_tensor else "cpu" for each in (array, other))
        raise ValueError(f"{op}: {name}: must be on the device of {other_name}, {there}, got {here}")
