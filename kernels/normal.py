"""mean + std z, z standard normal, in Triton: the twin of csrc/include/fastblackout/normal.h to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import portfloat as pf
from .checks import report_numbers
from .draw import drawn_block, place, write
from .launch import launch_draw
from .weights import first_word

__all__ = ["normal"]
_NORMAL = tl.constexpr(int(Stream.NORMAL))
_REFINE = tl.constexpr(int(Stream.NORMAL_REFINE))


@triton.jit
def _centre(q):
    x = 0.180625 - q * q
    top = tl.zeros_like(x) + 2509.0809287301227
    top = top * x + 33430.57558358813
    top = top * x + 67265.7709270087
    top = top * x + 45921.95393154987
    top = top * x + 13731.69376550946
    top = top * x + 1971.5909503065513
    top = top * x + 133.14166789178438
    top = top * x + 3.3871328727963665
    bottom = tl.zeros_like(x) + 5226.495278852854
    bottom = bottom * x + 28729.085735721943
    bottom = bottom * x + 39307.89580009271
    bottom = bottom * x + 21213.794301586597
    bottom = bottom * x + 5394.196021424751
    bottom = bottom * x + 687.1870074920579
    bottom = bottom * x + 42.31333070160091
    bottom = bottom * x + 1.0
    return (q * top) / bottom


@triton.jit
def _near(r):
    x = r - 1.6
    top = tl.zeros_like(x) + 0.0007745450142783414
    top = top * x + 0.022723844989269184
    top = top * x + 0.2417807251774506
    top = top * x + 1.2704582524523684
    top = top * x + 3.6478483247632045
    top = top * x + 5.769497221460691
    top = top * x + 4.630337846156546
    top = top * x + 1.4234371107496835
    bottom = tl.zeros_like(x) + 1.0507500716444169e-09
    bottom = bottom * x + 0.0005475938084995345
    bottom = bottom * x + 0.015198666563616457
    bottom = bottom * x + 0.14810397642748008
    bottom = bottom * x + 0.6897673349851
    bottom = bottom * x + 1.6763848301838038
    bottom = bottom * x + 2.053191626637759
    bottom = bottom * x + 1.0
    return top / bottom


@triton.jit
def _far(r):
    x = r - 5.0
    top = tl.zeros_like(x) + 2.0103343992922881e-07
    top = top * x + 2.7115555687434876e-05
    top = top * x + 0.0012426609473880784
    top = top * x + 0.026532189526576124
    top = top * x + 0.29656057182850487
    top = top * x + 1.7848265399172913
    top = top * x + 5.463784911164114
    top = top * x + 6.657904643501103
    bottom = tl.zeros_like(x) + 2.0442631033899397e-15
    bottom = bottom * x + 1.421511758316446e-07
    bottom = bottom * x + 1.8463183175100548e-05
    bottom = bottom * x + 0.0007868691311456133
    bottom = bottom * x + 0.014875361290850615
    bottom = bottom * x + 0.1369298809227358
    bottom = bottom * x + 0.599832206555888
    bottom = bottom * x + 1.0
    return top / bottom


@triton.jit
def standard_normal(high, low):
    """float64 from two uint32 words."""
    upper = (high & 0x7FFFFFFF).to(tl.float64) * 2.3283064365386963e-10  # 2^-32
    lower = (low.to(tl.float64) + 0.5) * 5.421010862427522e-20  # 2^-64
    v = upper + lower
    z = _centre((0.5 - upper) - lower)
    tail = (high & 0x7FFFFFFF) < 322122548
    if tl.max(tail.to(tl.int32), 0) > 0:
        root = tl.sqrt(0.0 - pf.log(v))
        other = _near(root)
        far = tail & (root > 5.0)
        if tl.max(far.to(tl.int32), 0) > 0:
            other = tl.where(far, _far(root), other)
        z = tl.where(tail, other, z)
    return tl.where((high >> 31) == 1, 0.0 - z, z)


@triton.jit(do_not_specialize=["elements"])
def normal_kernel(
    mean, std, out, key, flag, layout, elements,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    middle = tl.load(place(mean, row, first, lane, elements, layout, 0, 3, DIMS), mask=valid, other=0.0).to(tl.float64)
    width = tl.load(place(std, row, first, lane, elements, layout, 1, 3, DIMS), mask=valid, other=0.0).to(tl.float64)
    bad = ((middle - middle == 0.0) & (width >= 0.0) & (width - width == 0.0)) == 0
    report_numbers(flag, valid & bad)
    i = (first + lane).to(tl.uint32)
    x = middle + width * standard_normal(first_word(i, key, row, _NORMAL), first_word(i, key, row, _REFINE))
    write(out, place(out, row, first, lane, elements, layout, 2, 3, DIMS), x, valid)


def normal(mean: Tensor, std: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """mean + std z, element by element."""
    launch_draw("normal", normal_kernel, [mean, std, out], key, flag)
