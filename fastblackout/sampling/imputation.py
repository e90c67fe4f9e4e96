"""Counts that were not observed, given those that were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

import torch

from ..call.keys import resolve_rng
from ..ground.named import named
from ..ground.values import check_integer
from ..models.interface import conditions_on, labels_on, model_and_head
from .rules import Expected
from .sampler import Reverse, counts_like, evaluating, reverse_of
from .steps import expected_end, numbers_of, one_step, state_at

if TYPE_CHECKING:
    from torch import Tensor

    from ..philox import Philox
    from ..schedule.schedule import Schedule
    from ..typing import Grid, Labels
    from .sampler import Checked

    class Options(TypedDict, total=False):
        """The keywords of `impute` that a model's method hands on."""

        runs: int
        steps: int | None
        generator: torch.Generator | None
        labels: Labels | None
        conditions: Tensor | None
        grid: Grid | Sequence[float] | None
        guidance: float | Sequence[float] | None
        batch: int


@torch.inference_mode()
@named
def impute(
    model: Callable[..., Any],
    schedule: Schedule,
    x: Tensor,
    observed: Tensor,
    draws: int | None = None,
    *,
    runs: int = 16,
    steps: int | None = None,
    rng: Philox | int | None = None,
    generator: torch.Generator | None = None,
    labels: Labels | None = None,
    conditions: Tensor | None = None,
    grid: Grid | Sequence[float] | None = None,
    guidance: float | Sequence[float] | None = None,
    batch: int = 256,
) -> Tensor:
    """Fill in the counts that were not observed: their mean given the others, or draws of them.

    ::

        mean: E[x_0 | observed counts], the average over runs of E[x_0 | x_t, observed counts] at the last step

    Parameters
    ----------
    model : BlackoutModel or torch.nn.Module
        The model, as in `fb.sample`.
    schedule : Schedule
        The schedule of the model.
    x : torch.Tensor
        Integer counts (B, C, ...) in 0..max_count. What was not observed may be anything in range.
    observed : torch.Tensor
        Bools that broadcast to the shape of x: True where a count is known.
    draws : int, optional
        None for the mean; a number for so many draws of the whole.
    runs : int, default 16
        How many runs the mean is averaged over.
    steps : int, optional
        How many steps a run has, as in `fb.sample`.
    rng : Philox or int, optional
        The key, or the seed of one. Draw d of row b is sample rng.first_sample + d B + b.
    generator : torch.Generator, optional
        Where the seed comes from if there is no key.
    labels : int, sequence of int, array or torch.Tensor, optional
        One integer for all samples, or integers (B,), as in `fb.sample`.
    conditions : torch.Tensor, optional
        Floats (B, D), as in `fb.sample`.
    grid : {"cosine", "index", "early"} or sequence of float, optional
        Where the steps lie, as in `fb.sample`.
    guidance : float or sequence of float, optional
        The guidance, as in `fb.sample`.
    batch : int, default 256
        The most samples in one call of the network. It changes no draw.

    Returns
    -------
    torch.Tensor
        Without `draws` the mean of the shape of x, float32; of a model whose max_count is above 2^24 or None float64,
        so that known counts stay as they are. With `draws` counts (draws,
        B, C, ...).

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    Before each step the known counts are drawn from the forward law at its time, given their values. This conditions
    the steps on them, but not exactly so: the network sees only the thinned ones. More steps come closer.

    The mean has less noise than the mean of as many draws, because the last step is taken by the mean of its law.

    Examples
    --------
    >>> run = fb.load_pretrained("digits", device="cpu")
    >>> x = torch.from_numpy(fb.data.load("digits").held_out[:2])
    >>> observed = torch.arange(8)[:, None].expand(8, 8) < 4
    >>> fb.impute(run.model, run.schedule, x, observed, runs=2, steps=5, rng=3).shape
    torch.Size([2, 1, 8, 8])
    """
    op = "impute"
    net, _ = model_and_head(op, model)
    if not isinstance(x, torch.Tensor) or x.ndim < 2:
        got = f"shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
        raise TypeError(f"{op}: x: must be a tensor of counts (B, C, ...), got {got}")
    x = counts_like(x, x, int(net.max_count), "x", op)
    if not isinstance(observed, torch.Tensor) or observed.dtype != torch.bool:
        got = str(observed.dtype) if isinstance(observed, torch.Tensor) else type(observed).__name__
        raise TypeError(f"{op}: observed: must be a bool tensor, got {got}")
    name, number = ("runs", runs) if draws is None else ("draws", draws)
    count = check_integer(op, name, number, 1, 1 << 20)
    batch = check_integer(op, "batch", batch, 1, 1 << 31)
    try:
        observed = observed.expand(x.shape)
    except RuntimeError:
        raise ValueError(f"{op}: observed: must broadcast to {tuple(x.shape)}, got {tuple(observed.shape)}") from None
    labels = labels_on(op, labels, len(x), net)
    conditions = conditions_on(op, conditions, len(x), x.device)
    key, drawn = resolve_rng(rng, generator, op), []
    total = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    for first in range(0, count * len(x), batch):
        rows = torch.arange(first, min(first + batch, count * len(x)), device=x.device) % len(x)
        of_rows = [None if each is None else each[rows.to(each.device)] for each in (x, observed, labels, conditions)]
        given: Checked = {"known": of_rows[0], "mask": of_rows[1], "conditions": of_rows[3]}
        given |= {"grid": grid, "guidance": guidance}
        this = key.at(first_sample=key.first_sample + first)
        run = reverse_of(model, schedule, (len(rows), *x.shape[1:]), steps, this, of_rows[2], op, **given)
        end = _end(run, draws is None).to(x.device)
        if draws is None:
            total.index_add_(0, rows, end.double())
        else:
            drawn.append(end)
    if draws is None:
        filled = torch.where(observed.to(x.device), x, total / count)
        return filled if net.max_count > 1 << 24 else filled.float()  # float32 holds all counts up to 2^24
    return torch.cat(drawn).view(count, *x.shape) if drawn else x.new_empty((count, *x.shape))


def _end(run: Reverse, mean: bool) -> Tensor:
    """The counts at the end of a run, or E[x_0] as its last step sees it."""
    setting, final = run.setting, len(run.times) - 2
    with evaluating(setting.model):
        state = state_at(setting.model, run.x, run.times[0], run.rng)
        for n in range(final + 1):
            if n == final and mean:
                setting = setting._replace(rule=Expected())
            numbers = numbers_of(setting, run.times[n], run.times[n + 1], run.guidance[n])
            state = state._replace(key=run.rng.at(call=n))
            if n == final and mean:
                return expected_end(setting, numbers, state)
            state = one_step(setting, numbers, state)
    return torch.where(cast("Tensor", setting.mask), setting.known, state.x)
