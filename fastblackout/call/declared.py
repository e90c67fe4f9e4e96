"""The ops that were declared, for what makes something of each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .operation import Operation

DECLARED: dict[str, Operation] = {}
