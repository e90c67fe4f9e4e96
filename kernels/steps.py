"""What reverse steps share in Triton: expected births from a network output, and how they store what they made."""

from __future__ import annotations

import triton
import triton.language as tl

from .checks import check_sample
from .draw import own_block, place, rounded
from .heads import load_number
from .portfloat import softplus


@triton.jit
def law_step_block(elements, key, center, scale, offset, flag, BLOCK: tl.constexpr, ALIGNED: tl.constexpr):
    """own_block of a step by a law, then of its sample center, scale and offset, all looked at."""
    row, first, elements, lane, valid = own_block(elements, BLOCK, ALIGNED)
    center, scale = tl.load(center + row), tl.load(scale + row)
    if first == 0:
        check_sample(flag, key, row, None, center, scale)
    return row, first, elements, lane, valid, center, scale, load_number(offset + row, flag)


@triton.jit
def store_step(
    x, x_s, model_input, center, scale, row, first, lane, elements, layout, valid,
    COLUMN: tl.constexpr, COLUMNS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """Counts x and the network's next input, each where it is asked for. COLUMN: of x_s in the layout; the other's is
    the next."""
    if x_s is not None:
        to = place(x_s, row, first, lane, elements, layout, COLUMN, COLUMNS, DIMS)
        tl.store(to, x.to(x_s.dtype.element_ty), mask=valid)
    if model_input is not None:
        value = (x.to(tl.float32) - center) * scale
        to = place(model_input, row, first, lane, elements, layout, COLUMN + 1, COLUMNS, DIMS)
        tl.store(to, rounded(value, model_input.dtype.element_ty), mask=valid)


@triton.jit
def expected_births(at, gain, valid, GIVEN: tl.constexpr):
    """(y, bits): float32 y = gain softplus(logit), or births as given (GIVEN). at: where they are.

    bits: 2 for logits, 4 for births that are not finite (or negative births). NaN comes out as 0.
    """
    if GIVEN:
        y = tl.load(at, mask=valid, other=0).to(tl.float32)
        bits = tl.where((y >= 0.0) & (y <= 3.4028234663852886e38), 0, 4)
    else:
        x = tl.load(at, mask=valid, other=0.0).to(tl.float32)
        bits = tl.where(x - x == 0.0, 0, 2)
        y = gain * softplus(x)
    return tl.where(y > 0.0, y, 0.0), tl.where(valid, bits, 0)
