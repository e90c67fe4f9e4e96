"""fb.categorical_rows by the operations of torch: where its rows are on a device, or are traced.

The bits equal the bits of the C++ kernel: float64 operations one by one in its order, which torch neither contracts nor
reorders outside torch.compile, and sums of integers, which are the same in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..reference.categorical_rows import BLOCK, bits_of, target
from ..reference.philox import Stream
from .tensor_floats import exp
from .tensor_words import stream_words

if TYPE_CHECKING:
    from torch import Tensor


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
