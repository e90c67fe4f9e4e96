"""All declared ops by name. The torch registry reads them here, so that it need not import the ops themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .operation import Operation

DECLARED: dict[str, Operation] = {}
WITHIN: set[str] = set()  # public names of ops whose numbers may differ within a sample
