"""Features of calls that come together on purpose, two by two: the choice that each of them is, by its name."""

from __future__ import annotations

from typing import Any

FEATURES: list[dict[str, Any]] = [
    {}, {"batch": 0}, {"size": 0}, {"rank": 0}, {"rank": 1}, {"batch": 1}, {"size": 1}, {"as": "features"},
    {"as": "axis"}, {"as": "each"}, {"as": "column"}, {"as": "0-d"}, {"as": "samples"}, {"mask": "features"},
    {"mask": "each"}, {"mask": "one"}, {"max_count is": "an array"}, {"to each": True}, {"counts": "float64"},
    {"counts": "uint16"}, {"counts": "int64"}, {"floats": "float16"}, {"floats": "float64"}, {"given": "births"},
    {"floats": "bfloat16"}, {"given": "x_0"}, {"by": "expected"}, {"pair": True}, {"dtype of numbers": "int64"},
    {"dtype of numbers": "float16"}, {"matrices": "each"}, {"matrices": "index"}, {"narrow": True}, {"fewer": True},
    {"anything": True}, {"layout": "unaligned"}, {"layout": "negative"}, {"layout": "sliced"}, {"values": "extreme"},
    {"attrition given": True}, {"offset given": True}, {"numbers as": "arrays"}, {"key as": "a tensor"},
    {"graded": True}, {"out": True}, {"another": "DLPack"}, {"another": "JAX"},
]  # fmt: skip
