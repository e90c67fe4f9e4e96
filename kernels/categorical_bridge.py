"""The categorical bridge in Triton: x_s between x_t and a state x_0 that is given, or drawn first."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .checks import report
from .draw import drawn_block, load_counts, place
from .launch import as_rows, on, per_element
from .weights import LOGITS, PATHS, PROBS, SMALLEST_TOTAL, draw_from_row, matrix_of, off_one

__all__ = ["categorical_bridge"]
_X0 = tl.constexpr(int(Stream.CATEGORICAL_X0))
_BRIDGE = tl.constexpr(int(Stream.CATEGORICAL_BRIDGE))


@triton.jit(
    do_not_specialize=[
        "class_step", "elements", "matrices_1", "matrices_2", "states", "before_k", "before_r", "before_c",
        "after_k", "after_r", "after_c",
    ]
)  # fmt: skip
def categorical_bridge_kernel(
    x_t, x_0, weights, x_s, before, after, index, key, flag, layout, class_step, elements, matrices_1,
    matrices_2, states, before_k, before_r, before_c, after_k, after_r, after_c,
    KIND: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """KIND: of weights, where x_0 is None."""
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    i = (first + lane).to(tl.uint32)
    to, bad = load_counts(place(x_t, row, first, lane, elements, layout, 0, 4, DIMS), valid, states - 1, False)
    to = to.to(tl.int32)
    bits = tl.where(bad, 1, 0)
    if x_0 is None:
        at = place(weights, row, first, lane, elements, layout, 2, 4, DIMS)
        largest = tl.zeros(i.shape, tl.float32) - float("inf")
        if KIND == LOGITS:
            for j in range(states):
                x = tl.load(at + (to * 0 + j).to(tl.int64) * class_step, mask=valid, other=0.0).to(tl.float32)
                largest = tl.where((x < float("inf")) & (x > largest), x, largest)
        start, total, wrong = draw_from_row(at, class_step, at, 0, largest, states, to, i, valid, key, row, _X0, KIND)
        wrong = wrong | (total < SMALLEST_TOTAL)
        if KIND == PROBS:
            wrong = wrong | off_one(total, weights.dtype.element_ty != tl.float64)
        bits |= tl.where(wrong, 2 if KIND == LOGITS else 8, 0)
    else:
        start, bad = load_counts(place(x_0, row, first, lane, elements, layout, 1, 4, DIMS), valid, states - 1, False)
        start = start.to(tl.int32)
        bits |= tl.where(bad, 1, 0)
    # Only here: across the draw of x_0 they would take registers that a thread has not.
    k_1, bad_1 = matrix_of(index, row, matrices_1)
    k_2, bad_2 = matrix_of(index, row, matrices_2)
    bits |= tl.where(bad_1 | bad_2, 1, 0)
    report(flag, tl.where(valid, bits, 0))
    line = before + k_1 * before_k + start.to(tl.int64) * before_r
    column = after + k_2 * after_k + to.to(tl.int64) * after_c
    drawn, total, wrong = draw_from_row(
        line, before_c, column, after_r, 0.0, states, to, i, valid, key, row, _BRIDGE, PATHS
    )
    wrong = wrong | (total < SMALLEST_TOTAL)
    report(flag, tl.where(valid & wrong, 8, 0))
    at = place(x_s, row, first, lane, elements, layout, 3, 4, DIMS)
    tl.store(at, drawn.to(x_s.dtype.element_ty), mask=valid)


def categorical_bridge(
    x_t: Tensor, x_0: Tensor | None, weights: Tensor | None, is_logits: bool, before: Tensor, after: Tensor, *rest: Any
) -> None:
    """x_s ~ before[x_0, .] after[., x_t], x_0 drawn first where it is None: from weights (B, ..., S)."""
    index, key, x_s, flag = rest
    x_t, x_0, x_s = as_rows(x_t, x_0, x_s)
    if x_t.numel() == 0:
        return
    first = None if weights is None else weights.select(-1, 0).view(x_t.shape)  # of every element's classes
    class_step = 1 if weights is None else weights.stride(-1)
    arrays = [x_t, x_0, first, x_s]
    kind = (LOGITS if is_logits else PROBS).value
    grid, (layout, elements), options = per_element("categorical_bridge", arrays, KIND=kind)
    matrices = before.shape[0], after.shape[0], before.shape[1], *before.stride(), *after.stride()
    with on(x_t):
        categorical_bridge_kernel[grid](
            *arrays, before, after, index, key, flag, layout, class_step, elements, *matrices, **options
        )
