"""Rows of op_table.py: draws by shapes, gamma, beta and what is made of them, and hypergeometric ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import fastblackout as fb
from support.maker import Maker

Arguments = dict[str, Any]
FLOATS = ("float32", "bfloat16", "float16", "float64")
COUNTS = ("uint8", "int16", "int32", "int64", "float32", "float64")
IMAGES = "shapes", "others", "widths", "bad", "draws", "argument"
FACTORS: dict[str, Any] = {"counts": ("int64",), "max_count": (1,), "others": FLOATS}
# Decimal exponents of the extreme shapes.
_EXTREMES = {
    torch.float64: (0.0, -8.0, 6.0, -299.0, 299.0, -14.0),
    torch.float32: (0.0, -8.0, 6.0, -44.5, 38.0, -1e-7),
    torch.bfloat16: (0.0, -8.0, 6.0, -38.0, 38.0, -3e-3),
    torch.float16: (0.0, -7.0, 4.7, -5.0, 4.5, -1e-3),
}


def _shapes(m: Maker, dtype: torch.dtype) -> Tensor:
    """From 1e-3 to 1e3, equally many in each decade, and what is extreme for the dtype."""
    return (10.0 ** m.uniform(-3.0, 3.0, _EXTREMES[dtype], torch.float64)).to(dtype)


def gamma(m: Maker) -> Arguments:
    """Results too large for float16, subnormal ones and 0."""
    other: torch.dtype = getattr(torch, m.case.get("others", "float32"))
    return {"shapes": _shapes(m, m.floats), "widths": m.uniform(0.0, 3.0, (1.0, 1.0, 6e4, 0.0, 1e-7), other)}


def beta(m: Maker) -> Arguments:
    other: torch.dtype = getattr(torch, m.case.get("others", "float32"))
    second = _shapes(m, other)
    second.view(-1)[: second.numel() // 2] = second.view(-1)[: second.numel() // 2].flip(0)
    return {"shapes": _shapes(m, m.floats), "others": second}


def beta_binomial(m: Maker) -> Arguments:
    return {"x": m.counts(), **beta(m)}


def negative_binomial(m: Maker) -> Arguments:
    other: torch.dtype = getattr(torch, m.case.get("others", "float32"))
    return {"shapes": _shapes(m, m.floats), "rate": m.uniform(0.0, 300.0, (10.0, 6e4, 0.0, 6e4, 3.0, 1e-3), other)}


def hypergeometric(m: Maker) -> Arguments:
    """Up to 2^53 balls; among the draws none, all, and all but few."""
    kind: torch.dtype = getattr(torch, m.case.get("others", "int64"))
    holds = {torch.float32: 2**24, torch.float64: 2**53}.get(kind) or torch.iinfo(kind).max
    good, most = m.counts(), min(m.max_count, holds)
    bad = torch.randint(0, most + 1, m.shape, generator=m.random)
    bad.view(-1)[1::5], bad.view(-1)[2::7] = most, 0
    balls = good.long() + bad
    draws = torch.randint(0, 2**62, m.shape, generator=m.random) % (balls + 1)
    draws.view(-1)[4::9], draws.view(-1)[5::9] = balls.view(-1)[4::9], (balls.view(-1)[5::9] - 3).clamp(min=0)
    return {"x": good, "bad": bad.to(kind), "draws": draws.clamp(max=holds).to(kind)}


def bessel(m: Maker) -> Arguments:
    other: torch.dtype = getattr(torch, m.case.get("others", "float32"))
    extremes = (0.0, 6e4, 1e-3, 4e4, 20.0) if other == torch.float16 else (0.0, 2.0**40, 1e-200, 1e4, 2.0**50)
    return {"x": m.counts(), "argument": m.uniform(0.0, 200.0, extremes, other)}


def gamma_drawn(a: Arguments, more: dict[str, Any]) -> Any:
    return {"out": fb.gamma(a["shapes"], a["widths"], **more)}


def beta_drawn(a: Arguments, more: dict[str, Any]) -> Any:
    return {"out": fb.beta(a["shapes"], a["others"], **more)}


def beta_binomial_drawn(a: Arguments, more: dict[str, Any]) -> Any:
    return {"out": fb.beta_binomial(a["x"], a["shapes"], a["others"], **more)}


def negative_binomial_drawn(a: Arguments, more: dict[str, Any]) -> Any:
    return {"out": fb.negative_binomial(a["shapes"], a["rate"], **more)}


def hypergeometric_drawn(a: Arguments, more: dict[str, Any]) -> Any:
    return {"out": fb.hypergeometric(a["x"], a["bad"], a["draws"], **more)}


def bessel_drawn(a: Arguments, more: dict[str, Any]) -> Any:
    return {"out": fb.bessel(a["x"], a["argument"], **more)}


def gamma_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    k.gamma(a["shapes"], a["widths"], key, out["out"], flag)


def beta_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    k.beta(a["shapes"], a["others"], key, out["out"], flag)


def beta_binomial_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    k.beta_binomial(a["x"], a["shapes"], a["others"], key, out["out"], flag)


def negative_binomial_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    k.negative_binomial(a["shapes"], a["rate"], key, out["out"], flag)


def hypergeometric_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    k.hypergeometric(a["x"], a["bad"], a["draws"], key, out["out"], flag)


def bessel_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    k.bessel(a["x"], a["argument"], key, out["out"], flag)


ROWS: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "gamma": (gamma, gamma_drawn, gamma_kernel, FACTORS),
    "beta": (beta, beta_drawn, beta_kernel, FACTORS),
    "beta_binomial": (
        beta_binomial,
        beta_binomial_drawn,
        beta_binomial_kernel,
        FACTORS | {"counts": COUNTS, "max_count": (1, 20, 255, 10**6, 2**53)},
    ),
    "negative_binomial": (negative_binomial, negative_binomial_drawn, negative_binomial_kernel, FACTORS),
    "hypergeometric": (
        hypergeometric,
        hypergeometric_drawn,
        hypergeometric_kernel,
        {"counts": COUNTS, "max_count": (1, 20, 255, 10**6, 2**52), "others": COUNTS},
    ),
    "bessel": (bessel, bessel_drawn, bessel_kernel, FACTORS | {"counts": COUNTS, "max_count": (1, 20, 255, 2**52)}),
}
