"""What the two reverse steps share in Triton: expected births from a network output."""

from __future__ import annotations

import triton
import triton.language as tl

from .portfloat import softplus


@triton.jit
def expected_births(logits, births, gain, valid, GIVEN: tl.constexpr):
    """(y, bits): float32 y = gain softplus(logit), or births as given (GIVEN). logits, births: pointers.

    bits: 2 for logits, 4 for births that are not finite (or negative births). NaN comes out as 0.
    """
    if GIVEN:
        raw = tl.load(births, mask=valid, other=0)
        y = raw.to(tl.float32)
        bits = tl.where((y >= 0.0) & (y <= 3.4028234663852886e38), 0, 4)
    else:
        x = tl.load(logits, mask=valid, other=0.0).to(tl.float32)
        bits = tl.where(x - x == 0.0, 0, 2)
        y = gain * softplus(x)
    return tl.where(y > 0.0, y, 0.0), tl.where(valid, bits, 0)
