"""Words of Philox as tensors, by integer operations of torch: for draws on a device that no kernel there makes.

Equal to the words of the kernels and of the reference: products wrap modulo 2^64, and the upper half of a wrapped
product, cut to 32 bits, equals the low bits of the whole one. Nothing waits for the device, nor looks at the
key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..reference.philox import DEFAULT_ROUNDS, MULTIPLIERS, WEYL, Stream

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
