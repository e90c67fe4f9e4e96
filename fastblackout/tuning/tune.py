"""`fb.tune`: a search for the way to sample in few steps, judged on other images with other keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..call.keys import seed_of
from ..data.dataset import Dataset
from ..ground.extras import is_there, lacking
from ..ground.named import named
from ..ground.values import check_integer, is_number, shown
from ..models.interface import check_schedule, described_by, model_and_head
from ..philox import SEED_END, Philox
from .work import KEYS, PARTS, Judged, Told, Work

if TYPE_CHECKING:
    from ..schedule.schedule import Schedule


@named
def tune(
    model: Callable[..., Any],
    schedule: Schedule,
    data: Dataset,
    steps: Sequence[int] = (5, 10, 20),
    minutes: float = 30.0,
    *,
    num: int = 600,
    rng: Philox | int = 1,
    state: str | os.PathLike[str] | None = None,
    tell: Callable[[Told], None] | None = None,
) -> dict[int, Judged]:
    """Search the times, the guidance and the last step with which a model is best sampled in few steps.

    What is found stands in `model.tuned`, and `fb.sample` uses it where it is given no grid.

    Parameters
    ----------
    model : BlackoutModel or torch.nn.Module
        The model, as in `fb.sample`.
    schedule : Schedule
        The schedule of the model.
    data : Dataset
        Data of the kind that the model was trained on.
    steps : sequence of int, default (5, 10, 20)
        The numbers of steps to search for, each at least 2.
    minutes : float, default 30.0
        The time of the search, shared equally by the numbers of steps. The judging comes on top. With 0 the times are
        those that the search begins with, for which each step leaves the same share of what is not known yet.
    num : int, default 600
        The samples of a trial.
    rng : Philox or int, default 1
        The key of the draws and of the search, or its seed.
    state : str or os.PathLike, optional
        A JSON file that keeps all trials. A search that was interrupted, or is given more minutes, goes on with it.
    tell : callable, optional
        `tell(told)` is called after each trial with a `Told`.

    Returns
    -------
    dict of int to Judged
        For each number of steps, how far samples are from training images before and after, in units of the distance of
        as many real images.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range, the data do not fit the model, or the search lacks scikit-learn.

    Notes
    -----
    For each number of steps, the search looks for the least distance between samples and held-out images, equally many
    of each class. The distance is the Frechet distance in the features of the network that evaluation has for the data,
    else of raw pixels. For tables it is the energy distance. Every trial draws `num` samples with the key `rng`.

    Then it draws with other keys what it found and the grid "early", compares both with training images, and keeps the
    better.

    Examples
    --------
    With a run and its data::

        judged = fb.tune(run.model, run.schedule, fb.data.load("digits"), [5], minutes=1.0)
    """
    op = "tune"
    net, head = model_and_head(op, model)
    check_schedule(op, schedule, net)
    if not isinstance(data, Dataset):
        raise TypeError(f"{op}: data: must be a fastblackout.data.Dataset, got {type(data).__name__}")
    if getattr(described_by(net), "bounded", True) and data.max_count != net.max_count:
        raise ValueError(f"{op}: data: max_count must be {net.max_count}, as in the model, got {data.max_count}")
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not steps:
        raise TypeError(f"{op}: steps: must be a list of numbers of steps, got {shown(steps)}")
    steps = sorted({check_integer(op, "steps", number, 2, schedule.steps) for number in steps})
    if not is_number(minutes) or not 0 <= minutes < float("inf"):
        raise ValueError(f"{op}: minutes: must be at least 0, got {shown(minutes)}")
    num = check_integer(op, "num", num, 2 * PARTS, 1 << 20)
    seed = seed_of(op, rng, SEED_END - 1 - KEYS)
    if tell is not None and not callable(tell):
        raise TypeError(f"{op}: tell: must be called with a Told, got {shown(tell)}")
    if minutes and not is_there("scikit-learn"):
        raise lacking(f"{op}: minutes above 0", "scikit-learn")
    if getattr(net, "tuned", None) is None:
        net.tuned = {}
    work = Work(net, head, schedule, data, num, seed, state)
    found = {}
    for number in steps:
        best = work.search(number, 60 * minutes / len(steps), tell)
        found[number] = work.judge(number, best)
        net.tuned[number] = found[number].tuned
    return found
