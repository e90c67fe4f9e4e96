"""Inputs that several cases of work.py share."""

from __future__ import annotations

import torch
from torch import Tensor

import fastblackout as fb

Inputs = dict[str, Tensor]  # samples first; those named peer_* are what torch's functions take, made beforehand
K_T, K_S = 500, 450  # of the 1,000-step grid: the reverse step that is timed


def rows(shape: tuple[int, ...], made: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape[:1], dtype=dtype, device=made.device, generator=made)


def filled(shape: tuple[int, ...], made: torch.Generator, value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full(shape[:1], value, dtype=dtype, device=made.device)


def column(value: Tensor) -> Tensor:
    return value.float().view(-1, 1, 1, 1)


def reverse(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """A state half way down and a network that knows the image: softplus(logits) = x_0 - x_t."""
    schedule = fb.Schedule.logit(1000)
    step = schedule.bridge(K_T, K_S)
    x_0 = torch.randint(0, 256, shape, device=made.device, generator=made, dtype=torch.int16).float()
    x_t = torch.floor(x_0 * schedule.survival(K_T).p)
    y = x_0 - x_t
    logits = torch.where(y > 0, y + torch.log(-torch.expm1(-y)), -30.0)
    center = 127.5 * float(schedule.survival(K_S).p)
    return {
        "x": x_t.to(torch.uint8), "logits": logits, "p": filled(shape, made, step.p, torch.float64),
        "q": filled(shape, made, step.q, torch.float64), "gain": filled(shape, made, 1.0),
        "center": filled(shape, made, center), "scale": filled(shape, made, 1.0), "peer_x": x_t,
    }  # fmt: skip
