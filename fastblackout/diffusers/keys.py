"""The key of a draw, of what users of diffusers pass as `generator`."""

from __future__ import annotations

from typing import Any

import torch

from ..call.keys import resolve_rng
from ..ground.values import is_integer
from ..philox import Philox


def key_from(op: str, argument: str, given: Any) -> Philox:
    """TypeError unless a torch.Generator, which gives a seed, a Philox, the seed of one, or None for a fresh one."""
    if given is None or isinstance(given, torch.Generator):
        return resolve_rng(None, given, op)
    if isinstance(given, Philox) or is_integer(given):
        return resolve_rng(given, None, op)
    rule = "must be a torch.Generator, a fastblackout.Philox, its seed or None"
    raise TypeError(f"{op}: {argument}: {rule}, got {type(given).__name__}")
