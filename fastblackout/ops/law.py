"""A log-probability of a law that is given by the ranges of its arguments and a function of NumPy arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..arrays import is_traced
from ..backends.float_mode import default_floats
from ..call.arguments import Call
from ..call.elements import broadcast_tensors
from ..ground.values import as_float, check_real_tensor, common_shape, is_number, is_tensor, place_of, real_array
from ..probability import check_sum

LARGEST = float(np.finfo(np.float64).max)


class Range(NamedTuple):
    """Of an argument: its ends, and how an error says them. whole: only whole numbers."""

    least: float
    most: float
    rule: str
    whole: bool = False


COUNTS_TO_53 = Range(0, 2.0**53, "whole numbers in 0..2^53", True)


class Law(NamedTuple):
    """ranges: of arguments by name. on_numpy: the result for NumPy arrays of all that is given, of at least one axis.

    check: raises for arguments that are in their ranges but do not fit, arrays or tensors by name.
    """

    ranges: dict[str, Range]
    on_numpy: Callable[..., np.ndarray]
    check: Callable[[str, dict[str, Any]], None] | None = None


def log_prob(op: str, given: dict[str, Any], law: Law) -> Any:
    """The log-probability `op` of arguments by name, in the order of the law's functions."""
    torch = sys.modules.get("torch")
    tensors = [] if torch is None else [value for value in given.values() if isinstance(value, torch.Tensor)]
    if torch is None or not tensors:
        arrays = [real_array(op, name, value).astype(np.float64, copy=False) for name, value in given.items()]
        shape = common_shape(op, {name: array.shape for name, array in zip(given, arrays, strict=True)})
        broadcast = [np.broadcast_to(array, shape) for array in arrays]
        return _on_numpy(op, law, dict(zip(given, broadcast, strict=True)))
    call = Call(op, "auto", traced=is_traced(tensors[0]))
    device, settled = tensors[0].device, {name: call.settle(name, value) for name, value in given.items()}
    tensors = broadcast_tensors(op, list(given), _float64_tensors(op, device, settled))
    if device.type == "cpu" and not any(is_traced(tensor) for tensor in tensors):
        plain = {name: tensor.detach() for name, tensor in zip(given, tensors, strict=True)}
        if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
            return torch.from_numpy(_on_numpy(op, law, {name: tensor.numpy() for name, tensor in plain.items()}))
        _check(op, law, plain)
    from . import log_probs_torch

    return getattr(log_probs_torch, op.removesuffix("_log_prob"))(*tensors)


@default_floats
def _on_numpy(op: str, law: Law, given: dict[str, np.ndarray]) -> np.ndarray:
    _check(op, law, given)
    arrays = list(given.values())
    with np.errstate(all="ignore"):  # of an x that is no number, or far outside
        made = law.on_numpy(*map(np.atleast_1d, arrays))
    return made.reshape(arrays[0].shape[: made.ndim])  # less the axes of a law of vectors


def _check(op: str, law: Law, given: dict[str, Any]) -> None:
    """ValueError unless each is in its range, counts are whole and the two sides of a Prob sum to 1."""
    for name, values in given.items():
        argument, _, side = name.partition(".")
        if argument in law.ranges:
            least, most, rule, whole = law.ranges[argument]
            wrong = ~((values >= least) & (values <= most))
            if whole:
                wrong |= values != (values.floor() if is_tensor(values) else np.floor(values))
            if wrong.any():
                got = f"{float(values[wrong][0])!r}{place_of(wrong)}"
                raise ValueError(f"{op}: {argument}: must be {rule}, got {got}")
        if side == "q":
            check_sum(op, argument, np.asarray(given[f"{argument}.p"]), np.asarray(values))
    if law.check is not None:
        law.check(op, given)


def _float64_tensors(op: str, device: Any, given: dict[str, Any]) -> list[Any]:
    import torch

    tensors = []
    for name, value in given.items():
        if is_tensor(value):
            check_real_tensor(op, name, value)
            if value.is_meta and device.type != "meta":
                raise ValueError(f"{op}: {name}: must be on the device of the other argument, {device}, got meta")
        elif is_number(value) and not isinstance(value, np.generic):
            value = as_float(op, name, value)
        else:
            value = real_array(op, name, value).astype(np.float64)
        tensors.append(torch.as_tensor(value, dtype=torch.float64, device=device))
    return tensors
