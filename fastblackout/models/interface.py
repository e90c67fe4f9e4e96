"""What samplers, losses and bounds ask of a model, a schedule, labels and conditions, checked before anything runs."""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Sequence
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
        return Wrapped(model._outer, model.described, _needed_of(model)[1], conditions), head_of(model)
    inner = model
    head, needed, complete = _needed_of(inner)
    while not complete and isinstance(inside := getattr(inner, "module", None), nn.Module):
        inner = inside
        head, needed, complete = _needed_of(inner)
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


def _needed_of(model: Any) -> tuple[Head, tuple[str, ...], bool]:
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


def labels_on(
    op: str, labels: Any, batch: int, model: Any, device: Any = None, argument: str = "labels"
) -> Tensor | None:
    """The labels (batch,) of a number for all or of one for each, on the device if one is given; None for none.

    TypeError unless integers, ValueError for another shape, or for classes that the model's network does not have.
    """
    if labels is None:
        return None
    rule = f"must be an integer, or integers of shape ({batch},)"
    if isinstance(labels, (Sequence, np.ndarray, np.generic, int)) and not isinstance(labels, (str, bool)):
        try:
            labels = torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError, OverflowError):  # no numbers, or rows of several lengths
            raise TypeError(f"{op}: {argument}: {rule}, got {reprlib.repr(labels)}") from None
    if not isinstance(labels, Tensor):
        raise TypeError(f"{op}: {argument}: {rule}, got {reprlib.repr(labels)}")
    if labels.numel() and (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool):
        raise TypeError(f"{op}: {argument}: {rule}, got {labels.dtype}")
    if tuple(labels.shape) not in ((), (batch,)):
        raise ValueError(f"{op}: {argument}: {rule}, got {tuple(labels.shape)}")
    if (classes := _classes(model)) is not None:
        check_classes(op, labels, classes or None, "model", argument)
    return labels.to(device).expand(batch)


def conditions_on(op: str, conditions: Any, batch: int, device: Any) -> Tensor | None:
    """The conditions (batch, D) on the device; None for none. TypeError unless a tensor of floats, ValueError for
    another shape, or on the CPU for numbers that are not finite."""
    if conditions is None:
        return None
    if not isinstance(conditions, Tensor) or not conditions.is_floating_point():
        got = conditions.dtype if isinstance(conditions, Tensor) else type(conditions).__name__
        raise TypeError(f"{op}: conditions: must be a tensor of floats, got {got}")
    if conditions.ndim != 2 or len(conditions) != batch:
        raise ValueError(f"{op}: conditions: must have shape ({batch}, D), got {tuple(conditions.shape)}")
    readable = conditions.device.type == "cpu" and not torch.compiler.is_compiling()
    if readable and not conditions.isfinite().all():
        row = int((~conditions.isfinite()).any(1).nonzero()[0, 0])
        raise ValueError(f"{op}: conditions: must be finite, got {conditions[row].tolist()} in row {row}")
    return conditions.to(device, torch.float32)


def classes_of(model: Any) -> int:
    """How many classes a model says it knows; 0 for none."""
    return _classes(model) or 0


def _classes(model: Any) -> int | None:
    """The attribute `num_classes` of a model's network or its own; None where there is no such attribute.

    A network of diffusers has in its place `config.num_class_embeds`, of which the last stands for no class.
    """
    network = getattr(model, "network", model)
    while not hasattr(network, "num_classes") and isinstance(inner := getattr(network, "module", None), nn.Module):
        network = inner  # of a network that is, say, inside DistributedDataParallel
    for owner in (network, model):
        if hasattr(owner, "num_classes"):
            return int(owner.num_classes or 0)
    config: Any = getattr(network, "config", None)
    return int(config.num_class_embeds or 1) - 1 if hasattr(config, "num_class_embeds") else None


def check_classes(op: str, labels: Tensor, classes: int | None, what: str, argument: str = "labels") -> None:
    """ValueError for labels outside 0..classes, where `classes` itself means no class; None for `classes` refuses all.

    what: "model" or "network", which has those classes. Values are looked at on the CPU, outside torch.compile, only:
    reading them on a GPU would wait for it.
    """
    if classes is None:
        got = reprlib.repr(labels.tolist())
        raise ValueError(f"{op}: {argument}: must be None for a {what} without classes, got {got}")
    if labels.device.type == "cpu" and labels.numel() and not torch.compiler.is_compiling():
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > classes:
            rule = f"must be in 0..{classes} ({classes}: no class)"
            raise ValueError(f"{op}: {argument}: {rule}, got {low if low < 0 else high}")
