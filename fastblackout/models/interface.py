"""What samplers, losses and bounds ask of a model and a schedule, checked before anything runs."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.dataset import count_dtype
from ..heads import head_of
from ..heads.head import Head
from ..schedule.schedule import Schedule

NEEDED = ("max_count", "center", "scale", "gain")


class Wrapped:
    """A model inside another module, DistributedDataParallel or AveragedModel: called as that, described by itself.

    With conditions, each call hands them on.
    """

    def __init__(self, outer: Any, inner: Any, needed: tuple[str, ...], conditions: Tensor | None = None) -> None:
        self._outer, self.described, self._conditions = outer, inner, conditions
        self.schedule, self.tuned = getattr(inner, "schedule", None), getattr(inner, "tuned", None)
        self.head, self.network = getattr(inner, "head", None), getattr(inner, "network", inner)
        for name in needed:
            setattr(self, name, getattr(inner, name))

    def __call__(self, model_input: Tensor, k: Any, labels: Any = None, *noise: Any) -> Any:
        if self._conditions is None:
            return self._outer(model_input, k, labels, *noise)
        # Several draws of one batch come one after another.
        conditions = self._conditions.repeat(len(model_input) // max(len(self._conditions), 1), 1)
        return self._outer(model_input, k, labels, *(noise or (None,)), conditions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outer, name)  # parameters, training, train, eval


def model_and_head(op: str, model: Any, conditions: Tensor | None = None) -> tuple[Any, Head]:
    """`model`, or a `Wrapped` where a module hides it or there are conditions, and its head; TypeError unless there is
    a BlackoutModel or its like."""
    if isinstance(model, Wrapped) and conditions is not None:
        return Wrapped(model._outer, model.described, _asked(model)[1], conditions), head_of(model)
    inner = model
    head, needed, complete = _asked(inner)
    while not complete and isinstance(inside := getattr(inner, "module", None), nn.Module):
        inner = inside
        head, needed, complete = _asked(inner)
    if not callable(model) or not complete:
        rule = f"must be a BlackoutModel, or have {', '.join(needed)} and a call"
        raise TypeError(f"{op}: model: {rule}, got {type(model).__name__}")
    count = inner.max_count
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or count < 1:
        raise TypeError(f"{op}: model: max_count must be an integer of at least 1, got {count!r}")
    return model if inner is model and conditions is None else Wrapped(model, inner, needed, conditions), head


def described_by(model: Any) -> Any:
    """The model itself, where `model_and_head` returned a `Wrapped`."""
    return model.described if isinstance(model, Wrapped) else model


def count_of_grids(model: Any) -> int:
    """What the grid and the times "early" take for the largest count: of a model without a bound what its data had."""
    inner = described_by(model)
    return int(getattr(inner, "typical_count", None) or inner.max_count)


def counts_of_model(op: str, model: Any, x: Tensor) -> Tensor:
    """Counts whose dtype can hold the model's largest count. ValueError for floats, which ops take up to 2^24."""
    if x.is_floating_point() and model.max_count > 1 << 24:
        most = "without a max_count" if getattr(model, "bounded", True) is False else f"of max_count {model.max_count}"
        raise ValueError(f"{op}: x_0: must hold integers for a model {most}, got {x.dtype}")
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool or torch.iinfo(x.dtype).max >= model.max_count:
        return x
    return x.to(getattr(torch, count_dtype(model.max_count).__name__))


def _asked(model: Any) -> tuple[Head, tuple[str, ...], bool]:
    """(the head, what is asked of a model that has it, whether this one has all of it)"""
    head = head_of(model)
    needed = (*NEEDED, *head.needs)
    return head, needed, all(hasattr(model, name) for name in needed)


def check_schedule(op: str, schedule: Any, model: Any) -> None:
    """TypeError unless a Schedule; ValueError where the model knows its own, and these times are others."""
    if not isinstance(schedule, Schedule):
        raise TypeError(f"{op}: schedule: must be a fastblackout.Schedule, got {type(schedule).__name__}")
    own = getattr(model, "schedule", None)
    if own is schedule or not isinstance(own, Schedule):
        return
    if not (np.array_equal(own.p, schedule.p) and np.array_equal(own.q, schedule.q)):
        raise ValueError(f"{op}: schedule: must be the one of the model, {own!r}, got {schedule!r}")
