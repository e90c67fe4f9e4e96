"""A valid call of any op, made of its declaration by choices that Hypothesis takes, or the simplest ones.

`valid` makes it by the name of the op. FEATURES are choices that come together on purpose, two by two.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import fastblackout as fb
from fastblackout.arrays import COUNTS, FLOATS
from fastblackout.call import arguments as kinds
from fastblackout.call import numbers, states
from fastblackout.call.arguments import COPIED
from fastblackout.call.declared import DECLARED
from fastblackout.call.elements import Elements
from fastblackout.call.head import FAMILIES, Head
from fastblackout.call.outputs import Chosen
from support import draws
from support.helpers import KEYS
from support.maker import PROBS, Maker

Pick = Callable[[str, Sequence[Any]], Any]
LIMITS = {"uint8": 2**8, "int16": 2**15, "int32": 2**31, "int64": 2**53 + 1, "uint16": 2**16, "uint32": 2**32}
LIMITS |= {"float32": 2**24 + 1, "float64": 2**53 + 1}  # counts that a dtype holds lie below these
NETWORK = (0.0, -0.0, 20.0, 300.0, -87.5, -6e4, 6e4, 1.25)
TINY = (5e-324, 1e-310, 1e-300, 1e-45, 1e-39, 1e-20)
SPREAD = ("features", "axis", "each")  # how numbers differ within a sample
MOST_ELEMENTS = 400


def simplest(name: str, options: Sequence[Any]) -> Any:
    """The choices of a plain call of every op."""
    return options[0]


class Case:
    """A call. arguments: what the op takes, arrays of NumPy, by name.

    roles: what an argument is, by name, for `violations`. whole: the shape of an argument that is broadcast in full.
    beside: the names of numbers that stand beside counts by the rule of fb.thin; all others broadcast as NumPy does.
    axes: the axis of the whole along which the samples lie.
    """

    def __init__(self, op: str, pick: Pick, shape: tuple[int, ...]) -> None:
        self.op, self.pick, self.shape = op, pick, shape
        self.function: Callable[..., Any] = getattr(fb, op)
        self.random = np.random.default_rng(pick("seed", range(1 << 12)))
        self.arguments: dict[str, Any] = {}
        self.roles: dict[str, Any] = {}
        self.whole: dict[str, tuple[int, ...]] = {}
        self.axes: dict[str, int] = {}
        self.beside: set[str] = set()
        self.samples = shape[0] if shape else 1
        self.mask: Any = None  # which elements take part, of the whole shape
        self.counts: Any = None  # the first argument, and the most that it may be
        self.most: Any = None

    def add(self, name: str, value: Any, role: Any, whole: tuple[int, ...] | None = None, axis: int = 0) -> None:
        self.arguments[name], self.roles[name] = value, role
        if whole is not None:
            self.whole[name], self.axes[name] = whole, axis

    def values(self, pool: Sequence[float], shape: tuple[int, ...], low: float, high: float) -> Any:
        """float64, a third of them from the pool."""
        even = low + (high - low) * self.random.random(shape)
        return np.where(self.random.random(shape) < 1 / 3, self.random.choice(np.array(pool), shape), even)

    def network(self, shape: tuple[int, ...]) -> Any:
        dtype, values = (
            self.pick("floats", ("float32", "float16", "float64", "bfloat16")),
            self.values(NETWORK, shape, -6.0, 6.0),
        )
        if dtype == "bfloat16":  # which NumPy has not
            return torch.from_numpy(values).bfloat16().float().numpy()
        return values.astype(dtype)

    def outside(self, values: Any, wrong: float) -> Any:
        """The values, but any where the mask is false."""
        if self.mask is not None and self.pick("anything", (False, True)):
            values = np.where(self.mask, values, np.asarray(wrong).astype(values.dtype))
        return values


def shape_of(pick: Pick) -> tuple[int, ...]:
    rank = pick("rank", (2, 1, 3, 0, 4))
    shape = [pick("batch" if axis == 0 else "size", (2, 3, 1, 0, 4, 7, 40)) for axis in range(rank)]
    while math.prod(shape) > MOST_ELEMENTS:
        shape[shape.index(max(shape))] = 2
    return tuple(shape)


def number(case: Case, name: str, values: Callable[[tuple[int, ...]], Any], role: Any, within: bool) -> None:
    """Numbers that stand beside counts, for each sample or, where the op allows it, within one."""
    shape, rest = case.shape, case.shape[1:]
    shapes: dict[str, tuple[int, ...]] = {"number": (), "samples": (case.samples,), "0-d": ()}
    shapes |= {"column": (case.samples, *(1 for _ in rest))} if rest else {}
    if within and rest:
        shapes |= {"features": (1, *rest), "axis": (1, rest[0], *(1 for _ in rest[1:])), "each": shape}
    how = case.pick("as", [each for each in ("number", "samples", "column", "0-d", *SPREAD) if each in shapes])
    array = np.asarray(values(shapes[how]))
    spread = how in SPREAD and any(size != 1 for size in array.shape[1:])
    free = within and rest and name in ("gain", "center", "scale", "weight", "max_count")
    to_each = free and case.pick("to each", (False, True))  # as if all elements had the number of their sample
    value = array.item() if how == "number" else array
    case.add(name, value, role, shape if spread or to_each else (case.samples,))
    case.beside.add(name)


def as_dtype(case: Case, values: Any) -> Any:
    """Numbers in one of the dtypes that all numbers may have."""
    dtype = case.pick("dtype of numbers", ("float64", "float32", "int64", "float16"))
    return np.ceil(values).astype(dtype) if dtype == "int64" else values.astype(dtype)


def add_counts(case: Case, kind: kinds.Counts) -> None:
    (name,) = kind.names
    op, first = DECLARED[case.op], kind is DECLARED[case.op].arguments[0]
    bound = next((each for each in op.arguments if isinstance(each, numbers.MaxCount)), None)
    within = op.per_element is not None
    dtype = case.pick("counts", (*COUNTS, *COPIED))
    limit = min(LIMITS[dtype], 2**53 + 1)
    if case.arguments.get("family") == "bayes-logistic":
        limit = min(limit, 300)  # whose reference adds up all states
    if not first or bound is None:
        most: Any = case.pick("most", [each for each in (255, 9, 40_000, 2**53) if each < limit])
    else:
        tops = [each for each in (255, 9, 1, 0, 256, 40_000, 2**40, 2**53) if bound.low <= each < limit]
        most = case.pick("max_count", tops)
        if within and case.pick("max_count is", ("one", "an array")) == "an array":
            number(case, "max_count", lambda shape: case.random.integers(0, most + 1, shape), "limits", True)
            most = np.asarray(case.arguments["max_count"])
            most = most if most.ndim != 1 else most.reshape((*case.shape[:1], *(1 for _ in case.shape[1:])))
        elif not (dtype == "uint8" and most == 255 and case.pick("max_count given", (True, False)) is False):
            case.add("max_count", most, ("max_count", bound.low, min(LIMITS[dtype], 2**53 + 1) - 1))
    x = np.floor(case.random.random(case.shape) * (most + 1.0)).clip(0, most)
    x = np.where(case.random.random(case.shape) < 0.2, most, x).astype(dtype)
    if first:
        case.most, case.counts = most, x
    wrong = np.nan if x.dtype.kind == "f" else LIMITS[dtype] - 1
    value = case.outside(x, wrong) if first and within else x
    case.add(name, value, ("counts", np.max(most, initial=0)), case.shape)


def add_births(case: Case, name: str, values: Any) -> None:
    dtype = case.pick("births", ("uint8", "float32", "float16", "float64", "int64", "int16"))
    top = LIMITS.get(dtype, 2049) - 1
    case.add(name, case.outside(np.minimum(values, top).astype(dtype), 0), "births", case.shape)


def add_expected(case: Case, kind: kinds.ExpectedBirths) -> None:
    if case.pick("given", ("logits", "births")) == "logits":
        case.add("logits", case.outside(case.network(case.shape), np.nan), "network", case.shape)
    else:
        add_births(case, "births", np.abs(case.values((0.0, 2.5, 1e3), case.shape, 0.0, 40.0)))


def add_probability(case: Case, kind: numbers.Probability) -> None:
    (name,) = kind.names
    if kind.optional and not case.pick(f"{name} given", (False, True)):
        return
    number(case, name, lambda shape: case.values((*PROBS, *TINY), shape, 0.0, 1.0), "prob", case.op in kinds.WITHIN)
    p = case.arguments[name]
    if case.pick("pair", (False, True)):
        case.arguments[name] = fb.Prob(p, 1.0 - p)
    elif isinstance(p, np.ndarray):
        case.arguments[name] = as_dtype(case, p)


def add_per_sample(case: Case, kind: numbers.PerSample) -> None:
    (name,) = kind.names
    if name in ("center", "scale", "gain", "offset") and not case.pick(f"{name} given", (False, True)):
        return
    low = kind.rule.low
    pool = (1.0, 0.25, 7.3, 2.0**-14) if kind.rule.open_low else (0.0, 1.0, 7.3, *TINY)
    if low < 0:
        pool = (0.0, 1.0, -1.5, 3.3, *((-700.0, -95.0) if case.op == "posterior_step" else TINY), -1e-42)
    least = 0.01 if kind.rule.open_low else 0.0 if low == 0 else -2.0

    def values(shape: tuple[int, ...]) -> Any:
        return as_dtype(case, case.values(pool, shape, least, 2.0))

    number(case, name, values, ("number", low, kind.rule.open_low), case.op in kinds.WITHIN)


def add_key(case: Case, kind: kinds.Key) -> None:
    case.add("rng", case.pick("key", (fb.Philox(1), *KEYS)), "key")
    samples = 2**32 - case.arguments["rng"].first_sample
    if samples < case.samples:
        case.arguments["rng"] = case.arguments["rng"].at(first_sample=0)


def add_choice(case: Case, kind: numbers.Choice) -> None:
    (name,) = kind.names
    case.add(name, case.pick(name, kind.known), "choice")


def add_head(case: Case, kind: Head) -> None:
    family = case.arguments["family"]
    if family == "mean":
        case.add("head", case.network(case.shape), "head", case.shape)
    else:
        count = case.pick("arrays", FAMILIES[family].arrays)
        case.add("head", tuple(case.network(case.shape) for _ in range(count)), "head", case.shape)


def add_draws(case: Case, kind: kinds.Draws) -> None:
    shape = (case.pick("draws", (2, 3, 8)), *case.shape)
    case.add("logits", case.network(shape), "network", shape, axis=1)


def add_logits(case: Case, kind: kinds.Logits) -> None:
    case.add("logits", case.outside(case.network(case.shape), np.nan), "network", case.shape)


def add_loss_births(case: Case, kind: kinds.Births) -> None:
    if case.op == "posterior_loss":
        room = case.most - case.counts.astype(np.float64)
        add_births(case, "births", np.floor(case.random.random(case.shape) * (room + 1)).clip(0, room))
    else:
        add_births(case, "births", np.floor(case.values((0.0, 2.0, 1e3), case.shape, 0.0, 40.0)))


def add_elements(case: Case, kind: Elements) -> None:
    """Values that a module of support.draws makes, usual or extreme, each in a shape that broadcasts."""
    draw = draws.DRAWS[case.op]
    if case.pick("values", ("usual", "extreme")) == "usual":
        narrow_elements(case, kind.dtypes, draw.right)
        return
    factors = {"counts": ("int64",), "max_count": (255,)} | {n: f for n, f in draw.FACTORS.items() if n != "shape"}
    chosen = {name: case.pick(name, [v for v in some if v != "bfloat16"]) for name, some in factors.items()}
    chosen |= {"shape": case.shape, "floats": case.pick("floats", ("float32", "float16", "float64"))}
    made = {name: value.numpy() for name, value in draw.arguments(Maker(chosen, case.pick("seed", range(99)))).items()}
    for name, value in made.items():
        made[name] = cut(case, value)
    if case.op == "hypergeometric":
        balls = made["good"].astype(np.int64) + made["bad"].astype(np.int64)
        made["draws"] = np.minimum(made["draws"], balls.min(initial=2**50)).astype(made["draws"].dtype)
    if kind.prob:
        p, q = made.pop("p"), made.pop("q", None)
        made["prob"] = p if q is None else fb.Prob(p, 1.0 - p)
    for name, value in made.items():
        case.add(name, value, "elements", case.shape)
    restore_shape(case)


def cut(case: Case, value: Any, axes: int | None = None) -> Any:
    """A part of an array that broadcasts to its shape: one of an axis, or fewer axes."""
    rank = value.ndim if axes is None else axes
    for axis in range(rank):
        if value.shape[axis] and case.pick("narrow", (False, True)):
            value = value[(*(slice(None) for _ in range(axis)), slice(0, 1))]
    while rank and value.shape[0] == 1 and case.pick("fewer", (False, True)):
        value, rank = value[0], rank - 1
    return np.ascontiguousarray(value)


def narrow_elements(
    case: Case, dtypes: dict[str, Sequence[str]], right: Callable[..., Any], last: int = 0, role: str = "elements"
) -> None:
    """right: the values, of counts in 0..3 and reals in -1..1. last: categories in a last axis of the last argument."""
    x = np.floor(case.random.random(case.shape) * 4)
    reals = case.random.random(case.shape) * 2 - 1
    names = list(right(x, reals))
    for name in names:
        value = right(cut(case, x), cut(case, reals))[name]
        if last and name == names[-1]:
            value = case.values((0.0, 1.0, *TINY), (*np.shape(value), last), 0.01, 1.0)
            value[..., 0] = 0.5
        if isinstance(value, np.ndarray) and name in dtypes:
            floats = np.array_equal(value, np.floor(value)) and dtypes[name] != FLOATS
            value = value.astype(
                case.pick("dtype", [d for d in dtypes[name] if d != "bfloat16" and (floats or d[0] == "f")])
            )
        whole = (*case.shape, last) if last and name == names[-1] else case.shape
        case.add(name, value, role, whole)
    restore_shape(case)


def restore_shape(case: Case) -> None:
    """The shape that all arguments broadcast to, which may be smaller than the one they were cut from."""
    arrays = {name: value for name, value in case.arguments.items() if name in case.whole}
    extra = {name: len(case.whole[name]) - len(case.shape) for name in arrays}
    parts = [(np.shape(side), extra[n]) for n, v in arrays.items() for side in (v if isinstance(v, fb.Prob) else (v,))]
    case.shape = np.broadcast_shapes(*(shape[: len(shape) - more] for shape, more in parts))
    case.samples = case.shape[0] if case.shape else 1
    for name in arrays:
        case.whole[name] = (*case.shape, *case.whole[name][len(case.whole[name]) - extra[name] :])


LOGS = [name for name in fb.ops.__all__ if name.endswith("_log_prob")]
STATES = 5


def stochastic(case: Case, shape: tuple[int, ...]) -> Any:
    weights = np.where(case.random.random(shape) < 0.3, 0.0, case.random.random(shape) + 0.01)
    weights[..., 0] += 0.01
    return weights / weights.sum(-1, keepdims=True)


def add_matrices(case: Case, names: Sequence[str], make: Callable[[tuple[int, ...]], Any]) -> None:
    """One matrix for all samples, one for each, or those that an index says."""
    how = case.pick("matrices", ("one", "each", "index"))
    count = {"one": 1, "each": case.samples, "index": 3}[how]
    for name in names:
        matrices = make((count, STATES, STATES))
        value = matrices[0] if how == "one" else matrices
        whole = (case.samples, STATES, STATES) if how != "index" else None
        case.add(name, value, "matrices", whole)
    if how == "index":
        case.add("index", case.random.integers(0, count, case.samples), "index", (case.samples,))


def add_probs(case: Case, kind: states.Matrices) -> None:
    dtype = case.pick("floats", ("float64", "float32"))
    add_matrices(case, ["probs"], lambda shape: stochastic(case, shape).astype(dtype))


def add_pair(case: Case, kind: states.MatrixPair) -> None:
    add_matrices(case, ["before", "after"], lambda shape: 0.02 + 0.9 * stochastic(case, shape))


def add_prediction(case: Case, kind: states.Prediction) -> None:
    given = case.pick("given", ("x_0", "logits", "probs"))
    shape = (*case.shape, STATES)
    if given == "x_0":
        case.add("x_0", states_of(case), ("counts", STATES - 1), case.shape)
    elif given == "logits":
        case.add("logits", case.network(shape), "network", shape)
    else:
        dtype = case.pick("floats", ("float64", "float32"))
        case.add("probs", stochastic(case, shape).astype(dtype), "matrices", shape)


def states_of(case: Case) -> Any:
    return case.random.integers(0, STATES, case.shape).astype(case.pick("counts", tuple(LIMITS)))


def add_rows(case: Case, kind: states.Rows) -> None:
    number(case, "prob", lambda shape: case.values(PROBS, shape, 0.0, 1.0), "prob", False)
    p = case.arguments["prob"]
    if isinstance(p, np.ndarray) and p.ndim > 1:
        case.arguments["prob"] = p = p.reshape(-1)
    if not isinstance(p, np.ndarray) or p.ndim == 0:
        del case.whole["prob"], case.axes["prob"]  # which makes one matrix, of no sample
        case.shape, case.samples = (), 1
    case.arguments["prob"] = fb.Prob(p, 1.0 - p) if case.pick("pair", (False, True)) else p
    case.add("max_count", case.pick("max_count", (3, 0, 20)), ("max_count", 0, 4095))


KINDS: dict[type, Callable[[Case, Any], None]] = {
    kinds.Counts: add_counts,
    kinds.ExpectedBirths: add_expected,
    kinds.Births: add_loss_births,
    kinds.Logits: add_logits,
    kinds.Draws: add_draws,
    kinds.Key: add_key,
    numbers.Probability: add_probability,
    numbers.PerSample: add_per_sample,
    numbers.MaxCount: lambda case, kind: None,  # which is chosen with the counts
    numbers.Choice: add_choice,
    Head: add_head,
    Elements: add_elements,
    states.Matrices: add_probs,
    states.MatrixPair: add_pair,
    states.Prediction: add_prediction,
    states.Rows: add_rows,
}


def declared(case: Case) -> None:
    op = DECLARED[case.op]
    family = any(hasattr(each, "names") and "head" in each.names for each in op.arguments)
    if family:
        case.add("family", case.pick("family", (*FAMILIES, "mean")), "choice")
    if op.per_element is not None or case.op == "birth_loss":
        add_mask(case)
    for argument in op.arguments:
        if case.op in ("categorical", "categorical_bridge") and argument is op.arguments[0]:
            case.add(argument.names[0], states_of(case), ("counts", STATES - 1), case.shape)
        else:
            next(KINDS[kind] for kind in type(argument).__mro__ if kind in KINDS)(case, argument)
    if isinstance(op.outputs, Chosen):
        names = op.outputs.names
        chosen = case.pick("outputs", (names, names[:1], names[-1:], names[-1]))
        case.add("outputs", chosen, "outputs")
        case.add("input_dtype", case.pick("input_dtype", ("float32", "float16", "float64")), "input_dtype")


def add_mask(case: Case) -> None:
    how = case.pick("mask", ("none", "one", "features", "each"))
    if how == "none" or (how == "features" and len(case.shape) < 2):
        return
    shape = {"one": (), "features": (1, *case.shape[1:]), "each": case.shape}[how]
    mask = np.asarray(case.random.random(shape) < 0.6)
    case.mask = np.broadcast_to(mask, case.shape)
    case.add("mask", mask, "mask", case.shape)


def expected_loss(case: Case) -> None:
    """fb.birth_loss of the births themselves."""
    add_mask(case)
    y = np.abs(case.values((0.0, 2.5, 1e3), case.shape, 0.0, 40.0)).astype(case.pick("floats", ("float32", "float16")))
    births = np.where(y == 0, 0, case.random.integers(0, 40, case.shape))
    case.add("logits", None, None)
    case.add("expected", case.outside(y, np.nan), "network", case.shape)
    case.add(
        "births",
        case.outside(births.astype(case.pick("births", ("uint8", "float32", "int64"))), 0),
        "births",
        case.shape,
    )
    number(case, "weight", lambda shape: as_dtype(case, case.values((1.0, 0.0), shape, -2.0, 2.0)), ("number",), True)


def split(case: Case) -> None:
    module = importlib.import_module("fastblackout.ops.split")
    if case.pick("overdispersed", (False, True)):
        narrow_elements(case, module._NEGATIVE_BINOMIAL.dtypes, lambda x, r: {"counts": x, "overdispersion": r + 3})
    else:
        narrow_elements(case, module._POISSON.dtypes, lambda x, r: {"counts": x})
    case.add("folds", case.pick("folds", (2, 3, (0.8, 0.2), [0.5, 0.25, 0.25])), "folds")
    add_key(case, None)


def multinomial(case: Case) -> None:
    dtypes = importlib.import_module("fastblackout.ops.multinomial")._ARGUMENTS.dtypes
    last = case.pick("categories", (3, 1, 2, 8))
    narrow_elements(case, dtypes, lambda x, r: {"count": x, "probs": r}, last)
    add_key(case, None)


def skellam(case: Case) -> None:
    dtypes = importlib.import_module("fastblackout.ops.skellam")._ARGUMENTS.dtypes
    narrow_elements(case, dtypes, lambda x, r: {"rate_1": r + 2, "rate_2": x * 5})
    add_key(case, None)


def categorical_rows(case: Case) -> None:
    if not case.shape:
        case.shape = (1,)
    shape = (*case.shape, case.pick("categories", (3, 1, 8)))
    if case.pick("given", ("weights", "logits")) == "weights":
        weights = stochastic(case, shape) * 7
        case.add("weights", weights.astype(case.pick("floats", ("float64", "float32", "float16"))), "weights", shape)
    else:
        case.add("logits", case.network(shape), "network", shape)
    case.add("dtype", case.pick("dtype", ("int64", "int32", "int16", "uint8")), "choice")
    add_key(case, None)


def log_prob(case: Case) -> None:
    name = case.op.removesuffix("_log_prob")
    if name == "multinomial":
        laws, last = (lambda x, r: {"x": x, "probs": r}), case.pick("categories", (3, 1, 8))
        narrow_elements(case, {}, laws, last, "law")
        x = case.random.integers(0, 4, (*case.shape, last))
        case.add("x", x.astype(case.pick("dtype", ("int64", "uint8", "float32"))), "law", x.shape)
        return
    known = {"skellam": lambda x, r: {"x": x, "rate_1": r + 3, "rate_2": 2.0}}
    known["hypergeometric"] = lambda x, r: {"x": x, "good": x + 3, "bad": x, "draws": x}
    dtypes = ("float64", "float32", "float16", "int64", "uint8")
    law = known.get(name) or draws.DRAWS[name].law
    narrow_elements(case, dict.fromkeys(("x", "count", "good", "bad", "draws", "order"), dtypes), law, role="law")


OTHERS = {"split": split, "multinomial": multinomial, "skellam": skellam, "categorical_rows": categorical_rows}
OTHERS |= {name: log_prob for name in LOGS if name not in DECLARED}
OPS = [name for name in fb.ops.__all__ if name in OTHERS or (name in DECLARED and callable(getattr(fb, name)))]


def valid(op: str, pick: Pick) -> Case:
    """A call that is right."""
    case = Case(op, pick, shape_of(pick))
    needs_samples = ("posterior_step", "posterior_loss", "energy_loss", "birth_loss")
    if op in needs_samples and not case.shape:
        case = Case(op, pick, (1,))
    if op == "birth_loss" and pick("by", ("logits", "expected")) == "expected":
        expected_loss(case)
    else:
        OTHERS.get(op, declared)(case)
    return case


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
