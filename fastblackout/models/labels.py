"""Labels and other conditions that samplers, losses and bounds hand to a model, checked before anything runs."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


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
