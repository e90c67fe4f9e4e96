"""Checks of what ops share: every error names op, argument, rule and value, and comes before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Array
from ..backends.float_mode import default_floats


def check_tensor(op: str, name: str, array: Array, value: Any) -> None:
    """TypeError unless `value`, adopted as `array`, is a torch tensor."""
    if not array.is_tensor:
        kind = type(value).__name__
        raise TypeError(f"{op}: {name}: must be a torch tensor like the other argument, got {kind}")


def same_shape(op: str, name: str, array: Array, other_name: str, other: Array) -> None:
    if array.shape != other.shape:
        raise ValueError(f"{op}: {name}: must have the shape of {other_name}, {other.shape}, got {array.shape}")
    if array.is_tensor or other.is_tensor:
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
