"""Binomial(n, f), f ~ Beta(a, b), in Triton: the twin of fastblackout/reference/beta_binomial.py to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .beta import beta_block, load_shapes
from .binomial import binomial_block, load_whole
from .checks import report
from .draw import drawn_block, load_key, place
from .launch import launch_draw

__all__ = ["beta_binomial"]
_A, _B = tl.constexpr(int(Stream.BETA_BINOMIAL_A)), tl.constexpr(int(Stream.BETA_BINOMIAL_B))
_BOOST, _DRAW = tl.constexpr(int(Stream.BETA_BINOMIAL_BOOST)), tl.constexpr(int(Stream.BETA_BINOMIAL))


@triton.jit(do_not_specialize=["elements"])
def beta_binomial_kernel(
    n, a, b, out, key, flag, layout, elements, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr
):
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    at_a = place(a, row, first, lane, elements, layout, 1, 4, DIMS)
    shape_a, shape_b, good = load_shapes(at_a, place(b, row, first, lane, elements, layout, 2, 4, DIMS), valid, flag)
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    p, q = beta_block(shape_a, shape_b, i, valid, seed, counter, _A, _B, _BOOST)
    count, bad = load_whole(place(n, row, first, lane, elements, layout, 0, 4, DIMS), valid)
    report(flag, tl.where(valid & bad, 1, 0))
    k = binomial_block(count, p, q, i, valid, seed, counter, _DRAW)
    tl.store(place(out, row, first, lane, elements, layout, 3, 4, DIMS), k.to(out.dtype.element_ty), mask=valid)


def beta_binomial(n: Tensor, a: Tensor, b: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """Binomial(n, f), f ~ Beta(a, b), element by element."""
    launch_draw("beta_binomial", beta_binomial_kernel, [n, a, b, out], key, flag)
