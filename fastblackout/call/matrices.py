"""Matrices as the categorical ops take them: one for all samples, one of several chosen by index, or one a sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, adopt
from ..ground.values import check_mask, is_tensor
from .checks import largest

MAX_STATES = 65536


def matrices_of(op: str, argument: str, value: Any, dtypes: tuple[str, ...]) -> tuple[Array, bool]:
    """((K, R, S), whether it is one matrix for all) of (R, S) or (K, R, S); copied only where rows are strided."""
    array = adopt(value, op, argument, dtypes)
    if len(array.shape) not in (2, 3) or 0 in array.shape[-2:]:
        raise ValueError(f"{op}: {argument}: shape must be (R, S) or (K, R, S), got {array.shape}")
    if max(array.shape[-2:]) > MAX_STATES:
        raise ValueError(f"{op}: {argument}: must have at most {MAX_STATES} states, got shape {array.shape}")
    shared = len(array.shape) == 2
    tensor = array.value.detach() if array.is_tensor else array.value
    if array.strides()[-1] != 1:
        tensor = tensor.contiguous() if array.is_tensor else np.ascontiguousarray(tensor)
    return array.like(tensor[None] if shared else tensor), shared


def check_samples(op: str, argument: str, matrices: Array, shared: bool, indexed: bool, samples: int) -> None:
    """ValueError unless every sample has a matrix."""
    if not shared and not indexed and matrices.shape[0] != samples:
        raise ValueError(
            f"{op}: {argument}: must hold one matrix for each of {samples} samples unless index is given, "
            f"got shape {matrices.shape}"
        )
    if indexed and matrices.shape[0] == 0:
        raise ValueError(f"{op}: {argument}: must hold a matrix, got shape {matrices.shape}")


def check_index_use(op: str, index: Any, shared: bool) -> None:
    if index is not None and shared:
        raise ValueError(
            f"{op}: index: must be None where there is one matrix for all samples, got {type(index).__name__}"
        )


def index_on_host(op: str, index: Any, samples: int) -> np.ndarray:
    """int64 (samples,), contiguous; the kernels check its values."""
    check_index(op, index, samples)
    if not is_tensor(index):
        return np.ascontiguousarray(index)
    if index.device.type != "cpu":
        raise ValueError(f"{op}: index: must be on the CPU, got a tensor on {index.device}")
    return np.ascontiguousarray(index.numpy())


def check_index(op: str, index: Any, samples: int) -> None:
    """TypeError or ValueError unless int64 (samples,), of either library."""
    check_mask(op, "index", index)
    dtype = str(getattr(index, "dtype", type(index).__name__)).removeprefix("torch.")
    if dtype != "int64":
        raise TypeError(f"{op}: index: must be int64, one a sample, got {dtype}")
    if tuple(index.shape) != (samples,):
        raise ValueError(f"{op}: index: shape must be ({samples},), got {tuple(index.shape)}")


def check_holds(op: str, argument: str, dtype: str, states: int) -> None:
    if states - 1 > largest(dtype):
        raise TypeError(f"{op}: {argument}: dtype must hold states up to {states - 1}, got {dtype}")
