"""Draws on a device that no kernel there makes, by operations of torch: Philox words, an exponential, rows of weights.

Words equal those of the kernels and of the reference: products wrap modulo 2^64, and the upper half of a wrapped
product, cut to 32 bits, equals the low bits of the whole one. Nothing waits for the device, nor looks at the key.

Floats equal reference/portfloat.py, and the rows of fb.categorical_rows those of the C++ kernel, to the bit: float64
operations one by one in its order, which torch neither contracts nor reorders outside torch.compile, and sums of
integers, which are the same in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arrays import in_functorch
from ..reference.categorical_rows import BLOCK, bits_of, target
from ..reference.philox import DEFAULT_ROUNDS, MULTIPLIERS, WEYL, Stream
from ..reference.portfloat import exp_reduced

if TYPE_CHECKING:
    from torch import Tensor


_MASK = 0xFFFFFFFF


def stream_words(shape: tuple[int, int], key: Tensor, stream: Stream) -> Tensor:
    """Word i % 4 of block i / 4 for element i of each sample: int64 (B, n) in 0..2^32 - 1, on the device of the key.

    key: int64 (3,), as Philox.tensor makes it.
    """
    import torch

    batch, size = shape
    seed, first, call = key.unbind()
    key_0, key_1 = seed & _MASK, seed >> 32 & _MASK
    blocks = -(-size // 4)
    x0 = torch.arange(blocks, device=key.device)
    x1 = (first + torch.arange(batch, device=key.device))[:, None] & _MASK
    x2, x3 = call, torch.full((), stream.word(), dtype=torch.int64, device=key.device)
    for _ in range(DEFAULT_ROUNDS):
        first_product, second_product = x0 * MULTIPLIERS[0], x2 * MULTIPLIERS[1]
        x0, x1, x2, x3 = (
            (second_product >> 32 & _MASK) ^ x1 ^ key_0,
            second_product & _MASK,
            (first_product >> 32 & _MASK) ^ x3 ^ key_1,
            first_product & _MASK,
        )
        key_0, key_1 = key_0 + WEYL[0] & _MASK, key_1 + WEYL[1] & _MASK
    words = torch.stack(torch.broadcast_tensors(x0, x1, x2, x3), -1)
    return words.reshape(batch, 4 * blocks)[:, :size]


def exp(t: Tensor) -> Tensor:
    """portfloat.exp of a float64 tensor."""
    import torch

    shifted, rest = exp_reduced(t.clamp(-708.0, 709.0))
    if in_functorch():  # torch.vmap of older torch cannot read the bits of a float
        scale = _power_of_two(shifted - 6755399441055744.0)
    else:
        scale = ((shifted.view(torch.int64) + 1023) << 52).view(torch.float64)
    return ((1.0 + rest) * scale).masked_fill(t < -708.0, 0.0).masked_fill(t > 709.0, torch.inf)


def _power_of_two(n: Tensor) -> Tensor:
    """2^n, exact, of whole numbers in -1023..1023."""
    rest, power = n.abs(), n * 0.0 + 1.0
    for bit in (512, 256, 128, 64, 32, 16, 8, 4, 2, 1):
        has = rest >= bit
        rest, power = rest.where(~has, rest - bit), power.where(~has, power * 2.0**bit)
    return power.where(n >= 0.0, 1.0 / power)


def draw_rows(weights: Tensor, is_logits: bool, key: Tensor) -> tuple[Tensor, Tensor]:
    """(states int64 (B, n), whether each row can be drawn from) of weights (B, n, S), at most BLOCK weights at once.

    A wrong entry counts as weight 0, and a row with nothing to draw gives state 0.
    """
    import torch

    batch, size, states = weights.shape
    high, low = (
        stream_words((batch, size), key, stream).reshape(-1)
        for stream in (Stream.CATEGORICAL_ROWS, Stream.CATEGORICAL_ROWS_REFINE)
    )
    rows, scale = weights.detach().reshape(batch * size, states), 2.0 ** bits_of(states)

    def draw(part: slice) -> tuple[Tensor, Tensor]:
        some, drawable = (_of_logits if is_logits else _relative)(rows[part])
        q = (some * scale).round().long()  # half to even, as the reference
        cum = q.cumsum(1)
        goal = target(high[part], low[part], cum[:, -1])
        return torch.where(drawable, (cum <= goal[:, None]).sum(1), 0), drawable

    if torch.compiler.is_compiling():  # a loop over parts would fix the number of rows
        parts = [draw(slice(None))]
    else:
        step = max(BLOCK // states, 1)
        parts = [draw(slice(first, first + step)) for first in range(0, max(len(rows), 1), step)]
    drawn, right = (torch.cat(each).reshape(batch, size) for each in zip(*parts, strict=True))
    return drawn, right


def _relative(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Weights over the largest of each row, and whether all were right and one above 0."""
    import torch

    values = rows.double()
    right = (values >= 0.0) & (values < float("inf"))
    kept = torch.where(right, values, 0.0)
    largest = kept.amax(1, keepdim=True)
    drawable = right.all(1) & (largest[:, 0] > 0.0)
    return kept / torch.where(largest > 0.0, largest, 1.0), drawable


def _of_logits(rows: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    single = rows.float()
    right = single < float("inf")
    kept = torch.where(right, single, float("-inf"))
    largest = kept.amax(1, keepdim=True)
    drawable = right.all(1) & (largest[:, 0] > float("-inf"))
    d = kept.double() - largest.double()
    inside = (d >= -700.0) & (d <= 0.0)
    return torch.where(inside, exp(torch.where(inside, d, 0.0)), 0.0), drawable
