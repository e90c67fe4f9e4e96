"""The family "mean" of posterior_step and posterior_loss: a network that gives the expected births alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import COUNTS
from ..call import checks
from ..call.copied_counts import adopt_counts
from ..ground.values import as_float, is_number, is_tensor, real_array

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
    quarter = checks.max_count_of(op, max_count, counts.came_as or counts.dtype) / 4
    if is_tensor(offset):
        return head, offset.double().exp() * quarter
    if is_number(offset):
        return head, math.exp(min(as_float(op, "offset", offset), 709.0)) * quarter
    with np.errstate(over="ignore"):  # of the ops, which refuse an infinite gain
        return head, np.exp(real_array(op, "offset", offset)) * quarter
