"""Labels and other conditions that samplers, losses and bounds hand to a model, checked before anything runs."""

from __future__ import annotations

import reprlib
from typing import Any

import torch
from torch import Tensor


def labels_on(op: str, labels: Any, batch: int, model: Any, device: Any = None) -> Tensor | None:
    """The labels (batch,), on the device if one is given; None for none.

    TypeError unless a tensor of integers, ValueError for another shape, or for classes that the model does not know by
    the attribute `num_classes` of its network or its own, where there is one.
    """
    if labels is None:
        return None
    if not isinstance(labels, Tensor):
        raise TypeError(f"{op}: labels: must be a tensor of integers, got {type(labels).__name__}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"{op}: labels: must be a tensor of integers, got {labels.dtype}")
    if tuple(labels.shape) != (batch,):
        raise ValueError(f"{op}: labels: must have shape ({batch},), got {tuple(labels.shape)}")
    if hasattr(owner := _knows_classes(model), "num_classes"):
        check_classes(op, labels, owner.num_classes, "model")
    return labels if device is None else labels.to(device)


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
    return int(getattr(_knows_classes(model), "num_classes", None) or 0)


def _knows_classes(model: Any) -> Any:
    network = getattr(model, "network", model)
    return network if hasattr(network, "num_classes") else model


def check_classes(op: str, labels: Tensor, classes: int | None, what: str) -> None:
    """ValueError for labels outside 0..classes, where `classes` itself means no class; None for `classes` refuses all.

    what: "model" or "network", which has those classes. Values are looked at on the CPU, outside torch.compile, only:
    reading them on a GPU would wait for it.
    """
    if classes is None:
        got = reprlib.repr(labels.tolist())
        raise ValueError(f"{op}: labels: must be None for a {what} without classes, got {got}")
    if labels.device.type == "cpu" and labels.numel() and not torch.compiler.is_compiling():
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > classes:
            rule = f"must be in 0..{classes} ({classes}: no class)"
            raise ValueError(f"{op}: labels: {rule}, got {low if low < 0 else high}")
