"""Values that several of support.draws take: factors, shapes of gamma draws, inputs to be timed with, and peers."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from support.maker import Maker

Arguments = dict[str, Any]
Shape = tuple[int, ...]
Peers = dict[str, Callable[[dict[str, Tensor]], Any]]

FLOATS = ("float32", "bfloat16", "float16", "float64")
COUNTS = ("uint8", "int16", "int32", "int64", "float32", "float64")
SHAPE_FACTORS: dict[str, Any] = {"counts": ("int64",), "max_count": (1,), "others": FLOATS}
# Decimal exponents of the extreme shapes.
_EXTREMES = {
    torch.float64: (0.0, -8.0, 6.0, -299.0, 299.0, -14.0),
    torch.float32: (0.0, -8.0, 6.0, -44.5, 38.0, -1e-7),
    torch.bfloat16: (0.0, -8.0, 6.0, -38.0, 38.0, -3e-3),
    torch.float16: (0.0, -7.0, 4.7, -5.0, 4.5, -1e-3),
}


def other(m: Maker, default: str = "float32") -> torch.dtype:
    """The dtype of the arguments after the first."""
    return getattr(torch, m.case.get("others", default))


def shapes(m: Maker, dtype: torch.dtype) -> Tensor:
    """From 1e-3 to 1e3, equally many in each decade, and what is extreme for the dtype."""
    return (10.0 ** m.uniform(-3.0, 3.0, _EXTREMES[dtype], torch.float64)).to(dtype)


def pair_of_shapes(m: Maker) -> Arguments:
    second = shapes(m, other(m))
    second.view(-1)[: second.numel() // 2] = second.view(-1)[: second.numel() // 2].flip(0)
    return {"a": shapes(m, m.floats), "b": second}


def some_units(shape: Shape, made: torch.Generator) -> Tensor:
    return torch.rand(shape, device=made.device, generator=made)


def some_counts(shape: Shape, made: torch.Generator, most: int = 255, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.randint(0, most + 1, shape, device=made.device, generator=made, dtype=torch.int32).to(dtype)


def some_shapes(shape: Shape, made: torch.Generator) -> Tensor:
    """From 0.1 to 10."""
    return 10 ** (2 * some_units(shape, made) - 1)


def by_cupy(name: str, *names: str) -> Peers:
    """CuPy's draw, where it is installed. It shares the memory of torch's tensors, and works on the default stream as
    torch does here."""
    if importlib.util.find_spec("cupy") is None:
        return {}
    cupy: Any = importlib.import_module("cupy")

    def draw(v: dict[str, Tensor]) -> Any:
        given = (v[each].int() if v[each].dtype == torch.uint8 else v[each] for each in names)
        return getattr(cupy.random, name)(*(cupy.from_dlpack(each.contiguous()) for each in given))

    return {"CuPy": draw}
