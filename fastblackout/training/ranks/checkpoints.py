"""Checkpoints that rank 0 reads for all ranks, whose hosts need not have its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ..checkpoint import Checkpoint
from .launch import current

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _OfFirst(Checkpoint):
    def tensors(self, name: str) -> dict[str, Tensor]:
        return current().from_first(lambda: Checkpoint.tensors(self, name))


def as_first_has_it(find: Callable[[], Checkpoint | None]) -> Checkpoint | None:
    """The checkpoint that `find` finds on rank 0; every rank must then ask for the same of its tensors."""
    found = current().from_first(find)
    if found is None or current().count == 1:
        return found
    return _OfFirst(*(getattr(found, field.name) for field in fields(Checkpoint)))
