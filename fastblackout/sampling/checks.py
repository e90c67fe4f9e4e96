"""The arguments of `sample`, checked before anything is drawn."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from ..ground.values import check_integer, check_name
from ..heads.head import Head
from ..ops.bridge import ROUNDINGS
from .rules import SAMPLERS, load_rule
from .rules.rule import Rule


def shape_of(shape: Any, op: str = "sample", least: int = 2) -> tuple[int, ...]:
    """(batch, ...) as a tuple. TypeError unless a sequence of integers, ValueError for too few or one below 0."""
    if not isinstance(shape, Sequence) or isinstance(shape, (str, bytes)):
        raise TypeError(f"{op}: shape: must be (batch, ...) of integers at least 0, got {shape!r}")
    if len(shape) < least:
        raise ValueError(f"{op}: shape: must be (batch, ...) of integers at least 0, got {shape}")
    return tuple(check_integer(op, "shape", size, 0, (1 << 63) - 1) for size in shape)


def rule_of(sampler: Any, rounding: Any, attrition: Any, head: Head) -> Rule:
    """The rule of that name for models with that head, with the options that are not at their defaults."""
    check_name("sample", "sampler", sampler, tuple(SAMPLERS))
    check_name("sample", "rounding", rounding, ROUNDINGS)
    _check_number("attrition", attrition)
    given: dict[str, Any] = {} if rounding == "stochastic" else {"rounding": rounding}
    if attrition != 0:
        given["attrition"] = attrition

    def takes(name: str) -> bool:
        return given.keys() <= {field.name for field in fields(load_rule(name))}

    if not takes(sampler):
        takers = ", ".join(filter(takes, SAMPLERS))
        named, got = ", ".join(given), ", ".join(str(value) for value in given.values())
        rule = f"must be left at the default but with sampler {takers}"
        raise ValueError(f"sample: {named}: {rule}, got {got} with {sampler}")
    if not 0 <= attrition <= 1:
        raise ValueError(f"sample: attrition: must be in [0, 1], got {attrition}")
    if head.gives_law:
        why = f"for head {head.name!r}, whose law gives whole births"
        if sampler != "bridge":
            raise ValueError(f"sample: sampler: must be bridge {why}, got {sampler}")
        for name, value in given.items():
            raise ValueError(f"sample: {name}: must be left at its default {why}, got {value}")
    return load_rule(sampler)(**given)


def last_rule_of(last_step: str, rule: Rule) -> Rule:
    """The rule of the step to time 0."""
    if last_step == "draw":
        return rule
    from .rules.expected import Expected

    return Expected()


def check_callback(callback: Any, cuda_graph: Any) -> None:
    if not isinstance(cuda_graph, bool):
        raise TypeError(f"sample: cuda_graph: must be a bool, got {cuda_graph!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"sample: callback: must be called with n, k and x, got {type(callback).__name__}")
    if callback is not None and cuda_graph:
        raise ValueError("sample: callback: must be None with cuda_graph, got one")


def check_mask(known: Any, mask: Any) -> None:
    if (known is None) != (mask is None):
        raise ValueError("sample: known, mask: must come together, got one alone")
    if mask is not None and (not isinstance(mask, Tensor) or mask.dtype != torch.bool):
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"sample: mask: must be a bool tensor, got {got}")


def counts_like(value: Any, like: Tensor, max_count: int, argument: str, op: str = "sample") -> Tensor:
    """Counts in 0..max_count with the shape, dtype and device of `like`. TypeError or ValueError when they are not."""
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{op}: {argument}: must be a tensor of integer counts, got {got}")
    low, high = (int(value.min()), int(value.max())) if value.numel() else (0, 0)
    if low < 0 or high > max_count:
        raise ValueError(f"{op}: {argument}: counts must lie in 0..{max_count}, got {low if low < 0 else high}")
    try:
        return value.to(like.device, like.dtype).expand(like.shape).contiguous()
    except RuntimeError:
        raise ValueError(f"{op}: {argument}: must broadcast to {like.shape}, got {tuple(value.shape)}") from None


def _check_number(argument: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"sample: {argument}: must be a number, got {value!r}")
