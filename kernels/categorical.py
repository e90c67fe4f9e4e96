"""categorical in Triton: a draw from the row of probabilities of each element's state."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .checks import report
from .draw import drawn_block, load_counts, place
from .launch import as_rows, on, per_element
from .weights import PROBS, draw_from_row, matrix_of, off_one

__all__ = ["categorical"]
_DRAW = tl.constexpr(int(Stream.CATEGORICAL))


@triton.jit(do_not_specialize=["elements", "matrices", "rows", "columns", "step_k", "step_r", "step_c"])
def categorical_kernel(
    state, probs, index, out, key, flag, layout, elements, matrices, rows, columns, step_k, step_r, step_c,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    x, bad = load_counts(place(state, row, first, lane, elements, layout, 0, 2, DIMS), valid, rows - 1, False)
    k, out_of_range = matrix_of(index, row, matrices)
    i = (first + lane).to(tl.uint32)
    line = probs + k * step_k + x.to(tl.int64) * step_r
    fallback = tl.minimum(x, columns - 1).to(tl.int32)
    drawn, total, wrong = draw_from_row(line, step_c, line, 0, 0.0, columns, fallback, i, valid, key, row, _DRAW, PROBS)
    wrong = wrong | off_one(total, probs.dtype.element_ty == tl.float32)
    report(flag, tl.where(valid, tl.where(bad | out_of_range, 1, 0) | tl.where(wrong, 8, 0), 0))
    at = place(out, row, first, lane, elements, layout, 1, 2, DIMS)
    tl.store(at, drawn.to(out.dtype.element_ty), mask=valid)


def categorical(state: Tensor, probs: Tensor, index: Tensor | None, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """out ~ row `state` of the sample's matrix of probs, element by element; a row that is none gives the state."""
    state, out = as_rows(state, out)
    if state.numel() == 0:
        return
    grid, sizes, options = per_element("categorical", [state, out])
    with on(state):
        categorical_kernel[grid](state, probs, index, out, key, flag, *sizes, *probs.shape, *probs.stride(), **options)
