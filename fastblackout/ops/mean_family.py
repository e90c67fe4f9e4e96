"""The family "mean" of posterior_step and posterior_loss: a network that gives the expected births alone."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..arrays import COUNTS
from ..call.copied_counts import adopt_counts
from ..call.elements import filled
from ..call.numbers import max_count_of
from ..ground.values import as_float, check_real_tensor, is_number, is_tensor, real_array
from ..reference import portfloat

MEAN = "mean"


def is_mean(family: Any) -> bool:
    return isinstance(family, str) and family == MEAN


def as_births(op: str, head: Any, x_t: Any, offset: Any, max_count: Any) -> tuple[Any, Any]:
    """(logits, gain) as fb.bridge_step and fb.birth_loss take them: gain = max_count / 4 exp(offset)."""
    if isinstance(head, (tuple, list)):
        if len(head) != 1:
            raise ValueError(f"{op}: head: must be an array, or a tuple of one, for family {MEAN!r}, got {len(head)}")
        (head,) = head
    counts = adopt_counts(x_t, op, "x_t", COUNTS)
    quarter = max_count_of(op, max_count, counts.came_as or counts.dtype) / 4
    # A number may be a symbol of torch.compile, of which there is no portable exponential.
    if is_number(offset) and counts.is_tensor and (torch := sys.modules["torch"]).compiler.is_compiling():
        offset = filled((), as_float(op, "offset", offset), torch.float64, counts.value.device)
    return head, _scaled_exp(op, offset, quarter)


def _scaled_exp(op: str, offset: Any, factor: float) -> Any:
    """factor exp(offset) by the portable exponential of docs/draw.md in float64: the same bits in every library."""
    if is_tensor(offset):
        from ..backends import tensor_floats

        check_real_tensor(op, "offset", offset)
        return tensor_floats.exp(offset.double()) * factor
    if is_number(offset):
        return portfloat.exp_number(as_float(op, "offset", offset)) * factor
    with np.errstate(over="ignore", under="ignore"):  # of the ops, which refuse an infinite gain
        return portfloat.exp(real_array(op, "offset", offset).astype(np.float64)) * factor
