"""A call of every op, and of what ops are given by, with arguments that are right, by their names."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from support.draws import DRAWS

RNG = fb.Philox(5)
STATES = 4


def _within(**given: Any) -> None:
    with fb.use_backend(**given):
        pass


def calls(library: Any, shape: tuple[int, ...] = (2, 3)) -> dict[str, tuple[Any, dict[str, Any]]]:
    """name: (function, arguments that are right), on counts of a shape. library: makes its arrays of NumPy's."""
    size, samples = math.prod(shape), shape[0] if shape else 1
    x = library(np.arange(size, dtype=np.uint8).reshape(shape) % STATES)
    logits = library(np.linspace(-1, 1, size, dtype=np.float32).reshape(shape))
    matrix, index = library(np.full((1, STATES, STATES), 1 / STATES)), library(np.zeros(samples, np.int64))
    each, most = library(np.full(shape, 0.25)), library(np.full((1, *shape[1:]), STATES))
    key, ends = {"rng": RNG, "generator": None}, {"out": None, "backend": "auto"}
    end = {**key, "backend": "auto"}
    state = {"max_count": 255, "center": 0.0, "scale": 1.0, "outputs": ("model_input",), "input_dtype": "float32"}
    step = {"x_t": x, "logits": logits, "step": 0.5, "births": None, "gain": 1.0, **key, **state, **ends}
    law = {"family": "beta-binomial", "offset": 0.0}
    loss = {"x_t": x, "births": x, "weight": 1.0, "max_count": 255, "backend": "auto"}
    logs = {"x_t": x, "x_0": x, "backend": "auto"}
    schedule = fb.Schedule.cosine(10)
    return {
        "thin": (fb.thin, {"x_0": x, "alive": 0.5, **key, **state, **ends}),
        "bridge_step": (fb.bridge_step, {**step, "rounding": "nearest", "attrition": 0.0}),
        "tau_leap_step": (fb.tau_leap_step, step),
        "birth_loss": (fb.birth_loss, {"logits": logits, "births": x, "weight": 1.0, "gain": 1.0, "backend": "auto"}),
        "birth_loss of each": (
            functools.partial(fb.birth_loss, mask=each > 0),
            {"logits": None, "expected": logits + 3, "births": x, "weight": each, "backend": "auto"},
        ),
        "bridge_step of each": (
            functools.partial(fb.bridge_step, mask=each > 0),
            {
                "x_t": x,
                "logits": logits,
                "step": each,
                "attrition": each,
                **key,
                "gain": each,
                "max_count": most,
                **ends,
            },
        ),
        "energy_loss": (
            fb.energy_loss,
            {"logits": library(np.ones((2, *shape), np.float32)), **loss, "offset": 0.0},
        ),
        "posterior_loss": (
            fb.posterior_loss,
            {"head": (logits, logits), **loss, **law},
        ),
        "posterior_step": (
            fb.posterior_step,
            {"x_t": x, "head": (logits, logits), "step": 0.5, **law, **key, **state, **ends},
        ),
        **{op: (getattr(fb, op), draw.right(x, logits) | end) for op, draw in DRAWS.items()},
        "split": (fb.split, {"counts": x, "folds": 2, "overdispersion": logits + 3, **end}),
        "multinomial": (fb.multinomial, {"count": x, "probs": library(np.ones((*shape, 4))), **end}),
        "skellam": (fb.skellam, {"rate_1": logits + 2, "rate_2": 0.5, **end}),
        "categorical": (fb.categorical, {"state": x, "probs": matrix, "index": index, **key, **ends}),
        "CategoricalTable": (fb.CategoricalTable, {"probs": matrix, "backend": "auto"}),
        "categorical_bridge": (
            fb.categorical_bridge,
            {"x_t": x, "x_0": x, "before": matrix, "after": matrix, "index": index, "logits": None, **key, **ends},
        ),
        "categorical_rows": (fb.categorical_rows, {"weights": each, "dtype": "int64", **end}),
        "categorical_rows of logits": (fb.categorical_rows, {"logits": logits, **key}),
        "Uniform.sample_forward": (fb.Uniform(STATES).sample_forward, {"x_0": x, "t": 0.5, **end}),
        "Ehrenfest.sample_forward": (functools.partial(fb.Ehrenfest(STATES).sample_forward, x), {"t": 0.5, **key}),
        "transition_rows": (fb.transition_rows, {"prob": 0.5, "max_count": 3, "backend": "auto"}),
        "thin_log_prob": (fb.thin_log_prob, {**logs, "alive": 0.5}),
        "bridge_log_prob": (fb.bridge_log_prob, {**logs, "x_s": x, "step": 0.5}),
        **{
            f"{op}_log_prob": (getattr(fb, f"{op}_log_prob"), draw.law(x, logits))
            for op, draw in DRAWS.items()
            if hasattr(draw, "law")
        },
        "multinomial_log_prob": (fb.multinomial_log_prob, {"x": x, "probs": logits + 3}),
        "skellam_log_prob": (fb.skellam_log_prob, {"x": x, "rate_1": logits + 3, "rate_2": 2.0}),
        "use_backend": (_within, {"isa": "scalar", "threads": 1}),
        "Philox": (fb.Philox, {"seed": 1, "first_sample": 0, "call": 0}),
        "Philox.tensor": (RNG.tensor, {"device": "cpu"}),
        "Schedule.logit": (fb.Schedule.logit, {"steps": 5, "t_end": 15.0}),
        "Schedule.from_survival": (fb.Schedule.from_survival, {"p": np.array([1.0, 0.5])}),
        "Schedule.from_dict": (fb.Schedule.from_dict, {"values": {"name": "cosine", "steps": 3}}),
        "Schedule.survival": (schedule.survival, {"k": 3}),
        "Schedule.bridge_with_attrition": (schedule.bridge_with_attrition, {"k_t": 3, "k_s": 1, "sigma": 0.1}),
        "Schedule.leap": (schedule.leap, {"k_t": 3, "k_s": 1, "form": "rate"}),
        "Schedule.weight": (schedule.weight, {"name": "likelihood", "k": 3}),
        "Schedule.grid": (schedule.grid, {"steps": 3, "kind": "index"}),
        "Schedule.draw": (schedule.draw, {"batch": 3, **key, "global_batch": 3}),
    }


# Numbers of these differ from element to element, numbers of the other ops from sample to sample.
OF_ELEMENTS = {*DRAWS, "skellam", "binomial_log_prob"}
Variant = tuple[Callable[[Any], dict[str, Any]], Any]


def variants(op: str, right: dict[str, Any], library: Any, shape: tuple[int, ...]) -> Iterator[tuple[str, Variant]]:
    """Every argument of a call that may be an array, by the name that errors have for it: what a value of it changes in
    the arguments, and a right value."""
    declared = DECLARED[op].arguments if op in DECLARED else ()
    pairs = [each.names[0] for each in declared if [field[-1:] for field in each.fields[:2]] == ["p", "q"]]
    for name, value in right.items():
        if name == "rng":
            value = library(RNG.tensor().numpy())
        elif isinstance(value, float) or (op in DRAWS and isinstance(value, int)):
            value = library(np.full(shape if op in OF_ELEMENTS else shape[:1], value, dtype=np.float64))
        if type(value) is type(library(np.zeros(1))):
            yield name, (lambda v, name=name: {name: v}, value)
        if name in pairs:
            yield f"{name}.q", (lambda v, name=name, p=value: {name: fb.Prob(p, v)}, 1 - value)
        if name == "logits" and right.get("births", ...) is None:
            yield "births", (lambda v: {"logits": None, "births": v}, value + 1)
        if name == "head":
            for at in range(len(value)):
                yield f"head[{at}]", (lambda v, at=at, h=value: {"head": (*h[:at], v, *h[at + 1 :])}, value[at])
