"""The element-wise draws: all that the tests of every op know of one beyond its declaration, a value of DRAWS each.

- `arguments(m)`: dense CPU tensors by the names of the declaration, extremes among them, of a Maker;
- `FACTORS`: what they depend on, beyond op_table.COMMON or in place of it;
- `right(x, reals)`: arguments that are right, in the order of the public function, of counts x in 0..3 and of reals in
  -1..1, arrays of one library and shape;
- `law(x, reals)`: the same for its log-probability, where it has one;
- `WRONG`: of its arguments, a value that no kernel takes and how the rule begins that the flag of a device tells;
- `CASES`: fixed cases by name, whose draws known_answers.json keeps as hashes;
- `REGISTERS`: the most that its Triton kernel takes on an NVIDIA GPU;
- `TIMED`: its cases in benchmarks/gpu, by name: a function of a shape and a torch.Generator that makes the arguments,
  and what peers alone take, named peer_*; and `PEERS`: the same work by others.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from support.known_values import KEY, between, spread, whole
from support.known_values import shapes as known_shapes
from support.maker import Maker

Arguments = dict[str, Any]
Shape = tuple[int, ...]
Peers = dict[str, Callable[[dict[str, Tensor]], Any]]

NAN, INF = math.nan, math.inf
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


def _bessel(m: Maker) -> Arguments:
    kind = other(m)
    extremes = (0.0, 6e4, 1e-3, 4e4, 20.0) if kind == torch.float16 else (0.0, 2.0**40, 1e-200, 1e4, 2.0**50)
    return {"order": m.counts(), "argument": m.uniform(0.0, 200.0, extremes, kind)}


def _binomial(m: Maker) -> Arguments:
    pair = m.case.get("pair")
    p = m.uniform(0.0, 1.0, (0.0, 1.0, 0.5, 1e-6, 1 - 2.0**-8), torch.float64 if pair else None)
    p.view(-1)[7::11] = 1e-7
    return {"count": m.counts(), "p": p} | ({"q": 1 - p} if pair else {})


def _hypergeometric(m: Maker) -> Arguments:
    """Up to 2^53 balls; among the draws none, all, and all but few."""
    kind = other(m, "int64")
    holds = {torch.float32: 2**24, torch.float64: 2**53}.get(kind) or torch.iinfo(kind).max
    good, most = m.counts(), min(m.max_count, holds)
    bad = torch.randint(0, most + 1, m.shape, generator=m.random)
    bad.view(-1)[1::5], bad.view(-1)[2::7] = most, 0
    balls = good.long() + bad
    draws = torch.randint(0, 2**62, m.shape, generator=m.random) % (balls + 1)
    draws.view(-1)[4::9], draws.view(-1)[5::9] = balls.view(-1)[4::9], (balls.view(-1)[5::9] - 3).clamp(min=0)
    return {"good": good, "bad": bad.to(kind), "draws": draws.clamp(max=holds).to(kind)}


def _normal(m: Maker) -> Arguments:
    """Sums that are next to 0, results too large for float16 and subnormal ones."""
    most = 6e4 if m.floats == torch.float16 else 1e30
    mean = m.uniform(-5.0, 5.0, (0.0, -0.0, most, -most, 1e-7))
    return {"mean": mean, "std": m.uniform(0.0, 3.0, (1.0, 1.0, 6e4, 0.0, 1e-7), other(m))}


def _binomial_inputs(
    shape: Shape, made: torch.Generator, most: int = 255, dtype: torch.dtype = torch.uint8
) -> Arguments:
    count = some_counts(shape, made, most, dtype)
    return {"count": count, "p": some_units(shape, made), "peer_count": count.float()}


def _beta_inputs(shape: Shape, made: torch.Generator) -> Arguments:
    return {"a": some_shapes(shape, made), "b": some_shapes(shape, made)}


def _beta_binomial_inputs(shape: Shape, made: torch.Generator) -> Arguments:
    n = some_counts(shape, made)
    return {"n": n, **_beta_inputs(shape, made), "peer_n": n.float()}


def _hypergeometric_inputs(shape: Shape, made: torch.Generator) -> Arguments:
    """Up to 1,000 good and as many bad balls. A uniform share of them is drawn."""
    good, bad = (some_counts(shape, made, 1000, torch.int32) for _ in range(2))
    return {"good": good, "bad": bad, "draws": (some_units(shape, made) * (good + bad)).int()}


def _beta_by_torch(v: dict[str, Tensor]) -> Tensor:
    return torch.distributions.Beta(v["a"], v["b"], validate_args=False).sample()


DRAWS: dict[str, SimpleNamespace] = {
    "bessel": SimpleNamespace(
        arguments=_bessel,
        FACTORS=SHAPE_FACTORS | {"counts": COUNTS, "max_count": (1, 20, 255, 2**52)},
        right=lambda x, reals: {"order": x, "argument": 5.0},
        law=lambda x, reals: {"x": x, "order": x, "argument": reals + 3},
        WRONG=(("order", -1, "counts"), ("argument", NAN, "probability")),
        CASES={"bessel": lambda: fb.bessel(whole(40, 19), spread(18, 0.0, 3.0, 1e3), rng=KEY)},
        REGISTERS=104,
        TIMED={
            "bessel, orders to 255, arguments to 50": lambda shape, made: {
                "order": some_counts(shape, made), "argument": 50 * some_units(shape, made),
            },
        },
        PEERS={},
    ),
    "beta": SimpleNamespace(
        arguments=pair_of_shapes,
        FACTORS=SHAPE_FACTORS,
        right=lambda x, reals: {"a": reals + 3, "b": 0.5},
        law=lambda x, reals: {"x": x, "a": reals + 3, "b": 2.0},
        WRONG=(("a", -1.0, "gain"), ("b", INF, "gain")),
        CASES={"beta": lambda: fb.beta(known_shapes(14), known_shapes(15), rng=KEY)},
        REGISTERS=96,
        TIMED={"beta, shapes 0.1 to 10": _beta_inputs},
        PEERS={"torch.distributions": _beta_by_torch},
    ),
    "beta_binomial": SimpleNamespace(
        arguments=lambda m: {"n": m.counts(), **pair_of_shapes(m)},
        FACTORS=SHAPE_FACTORS | {"counts": COUNTS, "max_count": (1, 20, 255, 10**6, 2**53)},
        right=lambda x, reals: {"n": x, "a": reals + 3, "b": 0.5},
        law=lambda x, reals: {"x": x, "count": x, "a": 0.5, "b": 2.0},
        WRONG=(("n", -1, "counts"), ("a", 0.0, "gain"), ("b", NAN, "gain")),
        CASES={
            "beta_binomial": lambda: fb.beta_binomial(whole(500, 16), known_shapes(14), known_shapes(15), rng=KEY),
        },
        REGISTERS=112,
        TIMED={"beta-binomial, counts to 255": _beta_binomial_inputs},
        PEERS={"torch.distributions": lambda v: torch.binomial(v["peer_n"], _beta_by_torch(v))},
    ),
    "binomial": SimpleNamespace(
        arguments=_binomial,
        FACTORS={"counts": COUNTS, "max_count": (1, 20, 255, 10**6, 2**53), "pair": (0, 1)},
        right=lambda x, reals: {"count": x, "prob": 0.5},
        law=lambda x, reals: {"x": x, "count": x, "prob": 0.5},
        WRONG=(("count", -1, "counts"), ("p", 1.5, "probability")),
        CASES={
            "binomial": lambda: fb.binomial(whole(300, 6), spread(7, 0.0, 1e-3, 0.3, 0.5, 0.97, 1.0), rng=KEY),
            "binomial of large counts": lambda: fb.binomial(whole(2**53 - 1, 6), spread(7, 1e-15, 0.3, 0.97), rng=KEY),
            "binomial of pairs": lambda: fb.binomial(whole(300, 6), fb.Prob(1.0 - 2.0**-40, 2.0**-40), rng=KEY),
            "binomial, float32": lambda: fb.binomial(whole(300, 6), between(0, 1, 7, "float32"), rng=KEY),
        },
        REGISTERS=120,
        TIMED={
            "binomial, counts to 255": _binomial_inputs,
            "binomial, counts to 10^4": lambda shape, made: _binomial_inputs(shape, made, 10**4, torch.int32),
        },
        PEERS={"torch.binomial": lambda v: torch.binomial(v["peer_count"], v["p"])}
        | by_cupy("binomial", "count", "p"),
    ),
    "gamma": SimpleNamespace(
        # Results too large for float16, subnormal ones and 0.
        arguments=lambda m: {
            "shape": shapes(m, m.floats), "scale": m.uniform(0.0, 3.0, (1.0, 1.0, 6e4, 0.0, 1e-7), other(m)),
        },
        FACTORS=SHAPE_FACTORS,
        right=lambda x, reals: {"shape": reals + 3, "scale": 0.5},
        law=lambda x, reals: {"x": x, "shape": reals + 3, "scale": 2.0},
        WRONG=(("shape", NAN, "gain"), ("shape", 0.0, "gain"), ("scale", -1.0, "gain")),
        CASES={"gamma": lambda: fb.gamma(known_shapes(12), scale=spread(13, 0.0, 1.0, 1e3), rng=KEY)},
        REGISTERS=96,
        TIMED={
            "gamma, shapes 0.1 to 10": lambda shape, made: {
                "shape": some_shapes(shape, made),
                "scale": torch.ones((shape[0], *(1 for _ in shape[1:])), device=made.device),
            },
        },
        PEERS={"torch": lambda v: torch._standard_gamma(v["shape"])},
    ),
    "hypergeometric": SimpleNamespace(
        arguments=_hypergeometric,
        FACTORS={"counts": COUNTS, "max_count": (1, 20, 255, 10**6, 2**52), "others": COUNTS},
        right=lambda x, reals: {"good": x, "bad": x + 9, "draws": 5},
        law=lambda x, reals: {"x": x, "good": x, "bad": x, "draws": x},
        WRONG=(("good", -1, "counts"), ("bad", -1, "counts"), ("draws", 10**6, "counts")),
        CASES={
            "hypergeometric": lambda: fb.hypergeometric(
                whole(40, 19), bad=whole(900, 18) + 20, draws=whole(20, 17), rng=KEY
            ),
        },
        REGISTERS=168,
        TIMED={"hypergeometric, to 1000 balls of a kind": _hypergeometric_inputs},
        PEERS=by_cupy("hypergeometric", "good", "bad", "draws"),
    ),
    "negative_binomial": SimpleNamespace(
        arguments=lambda m: {
            "r": shapes(m, m.floats), "mean": m.uniform(0.0, 300.0, (10.0, 6e4, 0.0, 6e4, 3.0, 1e-3), other(m)),
        },
        FACTORS=SHAPE_FACTORS,
        right=lambda x, reals: {"r": reals + 3, "mean": 0.5},
        law=lambda x, reals: {"x": x, "r": reals + 3, "mean": 2.0},
        WRONG=(("r", INF, "gain"), ("mean", NAN, "probability")),
        CASES={
            "negative_binomial": lambda: fb.negative_binomial(
                known_shapes(17), mean=spread(18, 0.0, 2.0, 1e3), rng=KEY
            ),
        },
        REGISTERS=104,
        TIMED={
            "negative binomial, means to 50": lambda shape, made: {
                "r": some_shapes(shape, made), "mean": 50 * some_units(shape, made),
            },
        },
        PEERS={"torch.poisson": lambda v: torch.poisson(torch._standard_gamma(v["r"]) * (v["mean"] / v["r"]))},
    ),
    "normal": SimpleNamespace(
        arguments=_normal,
        FACTORS={"counts": ("int64",), "max_count": (1,), "others": FLOATS},
        right=lambda x, reals: {"mean": reals, "std": 0.5},
        WRONG=(
            *(("mean", value, "gain") for value in (NAN, -INF)),
            *(("std", value, "gain") for value in (-1.0, INF, NAN, -1e-45)),
        ),
        CASES={
            "normal": lambda: fb.normal(between(-1, 1, 10), spread(11, 0.0, 1.0, 1e3), rng=KEY),
            "normal, float32": lambda: fb.normal(between(-1, 1, 10, "float32"), 2.0, rng=KEY),
        },
        REGISTERS=48,
        TIMED={
            "normal, float32": lambda shape, made: {"mean": some_units(shape, made), "std": some_units(shape, made)},
        },
        PEERS={"torch.normal": lambda v: torch.normal(v["mean"], v["std"])},
    ),
    "poisson": SimpleNamespace(
        arguments=lambda m: {"rate": m.uniform(0.0, min(m.max_count, 6e4), (0.0, 10.0, 9.999, 6e4))},
        FACTORS={"counts": ("int64",), "max_count": (3, 30, 300, 10**4)},
        right=lambda x, reals: {"rate": reals + 2},
        WRONG=tuple(("rate", value, "probability") for value in (NAN, -1.0, INF)),
        CASES={
            "poisson": lambda: fb.poisson(spread(8, 0.0, 1e-3, 3.0, 9.99, 10.0, 14.0, 31.0, 1e3, 2.0**52), rng=KEY),
        },
        REGISTERS=96,
        TIMED={"poisson, rates to 50": lambda shape, made: {"rate": 50 * some_units(shape, made)}},
        PEERS={"torch.poisson": lambda v: torch.poisson(v["rate"]), **by_cupy("poisson", "rate")},
    ),
}  # fmt: skip


def public(op: str, a: dict[str, Any], rng: Any, backend: str) -> Any:
    """The draw as users call it. a: its arguments by name; p and q, where there are both, as one fb.Prob."""
    values = {name: value for name, value in a.items() if name not in "pq"}
    if "p" in a:
        values["prob"] = fb.Prob(a["p"], a["q"]) if "q" in a else a["p"]
    return getattr(fb, op)(**values, rng=rng, backend=backend)


def dtypes(op: str) -> dict[str, tuple[str, ...]]:
    """Those that the arguments of a draw may have, as its declaration says, by the names that its kernels have."""
    (declared, *_) = getattr(fb, op) and DECLARED[op].arguments
    return {"p" if name == "prob" else name: kinds for name, kinds in declared.dtypes.items()}
