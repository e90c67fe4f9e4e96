"""A state between two states: the bridge of a birth and death process, and whole numbers of either sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import is_traced
from ..backends import select
from ..call.keys import key_of, resolve_rng
from ..ground.named import named
from ..ground.values import is_number, settled
from ..ops import bessel, thin
from ..schedule.indices import as_fraction

if TYPE_CHECKING:
    from ..philox import Rng
    from ..typing import Backend

MOST_STATE, MOST_SLACK = 1 << 29, float(1 << 28)  # all numbers of jumps are then below 2^31
_COUNT = (1 << 31) - 1
_WRONG = -(1 << 31)


@named
def count_bridge(
    x_0: Tensor,
    x_1: Tensor,
    w: float | Tensor,
    *,
    slack: float = 0.0,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Draw states between two states, each a whole number of either sign.

    ::

        slack = 0:  x_w = x_0 + sign(d) Binomial(|d|, w),  d = x_1 - x_0
        slack > 0:  x_w = x_0 + sign(d) (Binomial(|d| + m, w) - Binomial(m, w)),  m ~ Bessel(|d|, 2 slack)

    w = 0 gives x_0, and w = 1 gives x_1.

    Parameters
    ----------
    x_0 : torch.Tensor
        Whole numbers (B, ...) in -2^29..2^29, of any integer or floating dtype. Dimension 0 is the sample.
    x_1 : torch.Tensor
        The same, in the shape of `x_0`.
    w : float or torch.Tensor
        The share of the way from x_0 to x_1, in [0, 1]: a number, or float64 (B,).
    slack : float, default 0.0
        The square root of the product of two numbers, the births and the deaths that are expected between x_0 and x_1
        where neither is known. In 0..2^28.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    torch.Tensor
        int32, in the shape of `x_0`. With slack it may lie outside of the two states.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. Values of tensors on a GPU are not looked at. In a compiled graph the error is of
        fb.thin or fb.bessel.

    Notes
    -----
    Between x_0 and x_1 lie B births and D deaths with B - D = d. Of the processes whose births and deaths have constant
    rates, the smaller of B and D then has the Bessel law of fb.bessel. Without slack there are no more jumps than
    needed. The times of the jumps are independent, and a share w of the whole time has passed. Bridges compose: a state
    at v < w, given x_0 and x_w, is count_bridge(x_0, x_w, v / w, slack=slack * w).
    https://github.com/fastblackout/fastblackout/blob/main/docs/theory.md derives this.

    The draws are made by fb.thin and fb.bessel, with the key that is given. Equal keys give equal results on every
    backend and for any split of the batch.

    References
    ----------
    Count Bridges, 2026, arXiv 2603.04730.

    Examples
    --------
    >>> ends = torch.tensor([[0, 100, 7]]), torch.tensor([[10, -100, 7]])
    >>> fb.count_bridge(*ends, 0.5, rng=fb.Philox(1))
    tensor([[ 1, -1,  7]], dtype=torch.int32)
    >>> fb.count_bridge(*ends, 0.5, slack=20.0, rng=fb.Philox(1))
    tensor([[ 0, -2,  8]], dtype=torch.int32)
    """
    op = "count_bridge"
    x_0, x_1 = ends_of(op, x_0, x_1)
    traced = is_traced(x_0)
    if isinstance(w, (int, float)) and not traced:
        as_fraction(op, "w", w, np, None)
    else:
        w = given = as_fraction(op, "w", _valued(op, "w", w), torch, x_0)
        if given.shape not in ((), x_0.shape[:1]):
            raise ValueError(f"{op}: w: must be a number or have shape ({len(x_0)},), got {tuple(given.shape)}")
    slack = slack_of(op, slack)
    if traced:
        select.check_name(op, backend)
    else:
        select.select(op, backend, x_0.device.type, drawn_by="thin")  # whether it could run there
    key = key_of(op, rng, generator, x_0, x_0.shape[0]) if traced else resolve_rng(rng, generator, op)
    jumps = x_1 - x_0
    sign = (jumps >> 31).bitwise_or_(1)  # 1 for 0, too; torch.where would take far longer
    jumps.abs_()
    if traced:  # the draws refuse or flag this count, as they do any wrong one
        jumps = jumps.masked_fill((x_0 == _WRONG) | (x_1 == _WRONG), -1)
    if slack:  # births and deaths, or the other way round, side by side, so that one call of one key draws both
        fewer = bessel(jumps, 2 * slack, rng=key, backend=backend).int()
        jumps = torch.stack((jumps + fewer, fewer), 1)
    done = thin(jumps, w, max_count=_COUNT, outputs="x_t", rng=key, backend=backend).x_t
    if slack:
        done = done[:, 0] - done[:, 1]
    return done.mul_(sign).add_(x_0)


def ends_of(op: str, x_0: Any, x_1: Any) -> tuple[Tensor, Tensor]:
    """Two states of one shape, int32."""
    first, second = states_of(op, "x_0", x_0), states_of(op, "x_1", x_1)
    if not is_traced(first):
        settled(op, "x_1", second)  # which refuses a FakeTensor beside it
    if first.shape != second.shape:
        raise ValueError(f"{op}: x_1: must have the shape of x_0, {tuple(first.shape)}, got {tuple(second.shape)}")
    if first.device != second.device:
        raise ValueError(f"{op}: x_1: must be on the device of x_0, {first.device}, got one on {second.device}")
    return first, second


def states_of(op: str, name: str, x: Any, low: int = -MOST_STATE, high: int = MOST_STATE) -> Tensor:
    """Whole numbers (B, ...) in low..high as int32; traced, _WRONG in the place of others."""
    x = _valued(op, name, x)
    odd = not isinstance(x, Tensor) or x.ndim < 1 or x.dtype == torch.bool or x.is_complex()
    if odd or (x.is_floating_point() and x.dtype.itemsize < 2):
        got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{op}: {name}: must be a tensor (B, ...) of whole numbers, got {got}")
    if x.dtype in (torch.uint16, torch.uint32, torch.uint64):  # of which torch finds no least number
        x = x.long()
        x = torch.where(x < 0, 1 << 62, x)  # of uint64, beyond int64
    if is_traced(x):
        wide = x.double()
        return x.int().masked_fill((wide != wide.round()) | ~((wide >= low) & (wide <= high)), _WRONG)
    if x.device.type == "cpu" and x.numel():
        if x.is_floating_point() and (wrong := x != x.round()).any():
            raise ValueError(f"{op}: {name}: must hold whole numbers, got {float(x[wrong][0])!r}")
        for value in (each.item() for each in torch.aminmax(x)):
            if not low <= value <= high:
                raise ValueError(f"{op}: {name}: must be in {low}..{high}, got {value:.17g}")
    return x.int()


def _valued(op: str, name: str, x: Any) -> Any:
    """An argument which, where it is a tensor, has its values in memory."""
    if not isinstance(x, Tensor):
        return x
    if x.is_meta:
        raise ValueError(f"{op}: {name}: must have values, got a tensor on meta")
    return x if is_traced(x) else settled(op, name, x)


def slack_of(op: str, slack: Any) -> float:
    if not is_number(slack):
        raise TypeError(f"{op}: slack: must be a number, got {type(slack).__name__}")
    if not 0 <= slack <= MOST_SLACK:
        raise ValueError(f"{op}: slack: must be in 0..2^28, got {slack!r}")
    return float(slack)
