"""JSON read strictly, of files that may be damaged."""

from __future__ import annotations

import json
import os
from typing import Any

from ..atomic_files import read_plain

MODEL_FORMAT = "fastblackout-model"  # said by the config.json of a model that save_pretrained wrote
BRIDGE_FORMAT = "fastblackout-count-bridge"  # the same of a CountBridge
CELLS_FORMAT = "fastblackout-cells"  # and of one that fastblackout.cells wrote
MOST = 1 << 24  # the most bytes; a usual description has two thousand


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a plain file holds. OSError as `open` raises it; ValueError for what is no JSON, is too large, or has a key
    twice, NaN or infinity; RecursionError for what is too deep."""
    return json.loads(read_plain(path, MOST).decode(), parse_constant=_refuse, object_pairs_hook=_unique)


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON has no {constant}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found
