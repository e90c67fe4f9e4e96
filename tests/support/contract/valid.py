"""`valid`: a call of an op by its name. And the arguments of ops that say more of them than their declaration does."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastblackout as fb
from fastblackout.call import states
from fastblackout.call.declared import DECLARED
from fastblackout.call.head import FAMILIES
from fastblackout.call.outputs import Chosen
from support import draws
from support.contract.calls import KINDS, LIMITS, Case, Pick, add_key, as_dtype, number, shape_of
from support.contract.elements import narrow_elements
from support.maker import PROBS

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


KINDS |= {states.Matrices: add_probs, states.MatrixPair: add_pair, states.Prediction: add_prediction}
KINDS |= {states.Rows: add_rows}


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
