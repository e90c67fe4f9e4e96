"""The reverse step of heads that give a law in Triton: the twin of csrc/include/fastblackout/posterior_step.h to the
bit."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import negative_binomial_law as negative_binomial
from . import portfloat as pf
from .bayes_launch import bayes_step
from .beta import beta_block
from .binomial import binomial_block
from .checks import clean_prob, report
from .draw import load_counts, load_key, place
from .gamma import _LEAST
from .heads import load_head
from .launch import bounded, on, per_element
from .posterior_loss import BAYES, NEGATIVE_BINOMIAL, beta_binomial_law
from .steps import law_step_block, store_step

__all__ = ["posterior_step"]
_A, _B = tl.constexpr(int(Stream.POSTERIOR_A)), tl.constexpr(int(Stream.POSTERIOR_B))
_BOOST, _ELEMENT = tl.constexpr(int(Stream.POSTERIOR_BOOST)), tl.constexpr(int(Stream.POSTERIOR_ELEMENT))


@triton.jit
def drawable_shape(a):
    """A shape that the gamma draw takes; a NaN becomes the least."""
    return tl.where(a >= pf.exact(_LEAST), a, pf.exact(_LEAST))


@triton.jit
def _beta_binomial_births(head_0, head_1, offset, x, born, unborn, max_count, i, valid, seed, counter):
    z, e, mean, rest, log_c, c, free = beta_binomial_law(head_0, head_1, offset)
    a, b = drawable_shape(mean * c), drawable_shape(rest * c)
    f, g = beta_block(a, b, i, valid, seed, counter, _A, _B, _BOOST)
    left = g + f * unborn
    left = tl.where(left < 1.0, left, 1.0)
    return binomial_block(max_count - x, f * born, left, i, valid, seed, counter, _ELEMENT)


@triton.jit(do_not_specialize=["elements", "max_count"])
def posterior_step_kernel(
    x_t, head_0, head_1, x_s, model_input, p, q, offset, center, scale, key, flag, layout, elements, max_count,
    LAW: tl.constexpr, BOUNDED: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid, center, scale, shift = law_step_block(
        elements, key, center, scale, offset, flag, BLOCK, ALIGNED
    )
    o_0, bits_0 = load_head(place(head_0, row, first, lane, elements, layout, 1, 5, DIMS), valid)
    o_1, bits_1 = load_head(place(head_1, row, first, lane, elements, layout, 2, 5, DIMS), valid)
    born, unborn, wrong = clean_prob(tl.load(p + row), tl.load(q + row))
    x, bad = load_counts(place(x_t, row, first, lane, elements, layout, 0, 5, DIMS), valid, max_count, BOUNDED)
    report(flag, tl.where(valid, bits_0 | bits_1 | tl.where(bad, 1, 0) | tl.where(wrong, 8, 0), 0))
    x = x.to(tl.int64)
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    if LAW == NEGATIVE_BINOMIAL:
        births = negative_binomial.births(o_0, o_1, shift, x, born, max_count, i, valid, seed, counter)
    else:
        births = _beta_binomial_births(o_0, o_1, shift, x, born, unborn, max_count, i, valid, seed, counter)
    x += births
    store_step(x, x_s, model_input, center, scale, row, first, lane, elements, layout, valid, 3, 5, DIMS)


def posterior_step(x_t: Tensor, family: int, *others: Any) -> None:
    """x_s = x_t + births by the law of the head, and the model input. others: the eight arrays of a head, p, q, offset,
    key, max_count, center, scale, x_s, model_input, flag."""
    *head, p, q, offset, key, max_count, center, scale, x_s, model_input, flag = others
    if x_t.numel() == 0:
        return
    numbers, made = (p.contiguous(), q.contiguous(), offset, center, scale, key), [x_s, model_input]
    if family == BAYES:
        bayes_step(x_t, head, made, numbers, max_count, flag)
        return
    arrays = [x_t, *head[:2], *made]
    grid, sizes, options = per_element("posterior_step", arrays, BOUNDED=bounded(x_t, max_count), LAW=family)
    with on(x_t):
        posterior_step_kernel[grid](*arrays, *numbers, flag, *sizes, max_count, **options)
