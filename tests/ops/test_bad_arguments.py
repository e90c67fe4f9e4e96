"""Values of every odd kind, given to every argument of every op: a named error or a right call, and no other end."""

from __future__ import annotations

import datetime
import decimal
import fractions
import functools
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastblackout as fb

RNG = fb.Philox(5)
STATES = 4


def _within(**given: Any) -> None:
    with fb.use_backend(**given):
        pass


def _calls(library: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """name: (function, arguments that are right)."""
    x = library(np.arange(6, dtype=np.uint8).reshape(2, 3) % STATES)
    logits = library(np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3))
    matrix, index = library(np.full((1, STATES, STATES), 1 / STATES)), library(np.zeros(2, np.int64))
    each, most = library(np.full((2, 3), 0.25)), library(np.full((1, 3), STATES))
    key, ends = {"rng": RNG, "generator": None}, {"out": None, "backend": "auto"}
    state = {"max_count": 255, "center": 0.0, "scale": 1.0, "outputs": ("model_input",), "input_dtype": "float32"}
    step = {"x_t": x, "logits": logits, "step": 0.5, "births": None, "gain": 1.0, **key, **state, **ends}
    law = {"family": "beta-binomial", "offset": 0.0}
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
            {
                "logits": library(np.ones((2, 2, 3), np.float32)),
                "x_t": x,
                "births": x,
                "weight": 1.0,
                "offset": 0.0,
                "max_count": 255,
                "backend": "auto",
            },
        ),
        "posterior_loss": (
            fb.posterior_loss,
            {
                "head": (logits, logits),
                "x_t": x,
                "births": x,
                "weight": 1.0,
                **law,
                "max_count": 255,
                "backend": "auto",
            },
        ),
        "posterior_step": (
            fb.posterior_step,
            {"x_t": x, "head": (logits, logits), "step": 0.5, **law, **key, **state, **ends},
        ),
        "binomial": (fb.binomial, {"count": x, "prob": 0.5, **key, "backend": "auto"}),
        "poisson": (fb.poisson, {"rate": logits + 2, **key, "backend": "auto"}),
        "normal": (fb.normal, {"mean": logits, "std": 0.5, **key, "backend": "auto"}),
        "gamma": (fb.gamma, {"shape": logits + 3, "scale": 0.5, **key, "backend": "auto"}),
        "beta": (fb.beta, {"a": logits + 3, "b": 0.5, **key, "backend": "auto"}),
        "beta_binomial": (fb.beta_binomial, {"n": x, "a": logits + 3, "b": 0.5, **key, "backend": "auto"}),
        "negative_binomial": (fb.negative_binomial, {"r": logits + 3, "mean": 0.5, **key, "backend": "auto"}),
        "hypergeometric": (fb.hypergeometric, {"good": x, "bad": x + 9, "draws": 5, **key, "backend": "auto"}),
        "bessel": (fb.bessel, {"order": x, "argument": 5.0, **key, "backend": "auto"}),
        "split": (fb.split, {"counts": x, "folds": 2, "overdispersion": logits + 3, **key, "backend": "auto"}),
        "multinomial": (fb.multinomial, {"count": x, "probs": library(np.ones((2, 3, 4))), **key, "backend": "auto"}),
        "skellam": (fb.skellam, {"rate_1": logits + 2, "rate_2": 0.5, **key, "backend": "auto"}),
        "categorical": (fb.categorical, {"state": x, "probs": matrix, "index": index, **key, **ends}),
        "CategoricalTable": (fb.CategoricalTable, {"probs": matrix, "backend": "auto"}),
        "categorical_bridge": (
            fb.categorical_bridge,
            {"x_t": x, "x_0": x, "before": matrix, "after": matrix, "index": index, "logits": None, **key, **ends},
        ),
        "categorical_rows": (fb.categorical_rows, {"weights": each, "dtype": "int64", **key, "backend": "auto"}),
        "categorical_rows of logits": (fb.categorical_rows, {"logits": logits, **key}),
        "Uniform.sample_forward": (fb.Uniform(STATES).sample_forward, {"x_0": x, "t": 0.5, **key, "backend": "auto"}),
        "Ehrenfest.sample_forward": (functools.partial(fb.Ehrenfest(STATES).sample_forward, x), {"t": 0.5, **key}),
        "transition_rows": (fb.transition_rows, {"prob": 0.5, "max_count": 3, "backend": "auto"}),
        "thin_log_prob": (fb.thin_log_prob, {**logs, "alive": 0.5}),
        "bridge_log_prob": (fb.bridge_log_prob, {**logs, "x_s": x, "step": 0.5}),
        "beta_binomial_log_prob": (fb.beta_binomial_log_prob, {"x": x, "count": x, "a": 0.5, "b": 2.0}),
        "binomial_log_prob": (fb.binomial_log_prob, {"x": x, "count": x, "prob": 0.5}),
        "gamma_log_prob": (fb.gamma_log_prob, {"x": x, "shape": logits + 3, "scale": 2.0}),
        "beta_log_prob": (fb.beta_log_prob, {"x": x, "a": logits + 3, "b": 2.0}),
        "negative_binomial_log_prob": (fb.negative_binomial_log_prob, {"x": x, "r": logits + 3, "mean": 2.0}),
        "multinomial_log_prob": (fb.multinomial_log_prob, {"x": x, "probs": logits + 3}),
        "hypergeometric_log_prob": (fb.hypergeometric_log_prob, {"x": x, "good": x, "bad": x, "draws": x}),
        "bessel_log_prob": (fb.bessel_log_prob, {"x": x, "order": x, "argument": logits + 3}),
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


class Nameless:
    def __repr__(self) -> str:
        raise RuntimeError("has none")


def _wrapped() -> Any:
    """A tensor that has left the transform of torch.func it was wrapped for."""
    kept: list[Any] = []
    torch.vmap(lambda row: kept.append(row) or row)(torch.rand(2, 2, 3))
    return kept[0]


PAIR, LONG = torch.tensor([0.25, 0.75]), np.array([0.25, 0.75], np.longdouble)
with FakeTensorMode():
    FAKE = torch.empty(2, dtype=torch.float64)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of prototypes, and of a class that NumPy advises against
    NESTED = torch.nested.nested_tensor([torch.rand(1), torch.rand(2)])
    QUANTIZED = torch.quantize_per_tensor(PAIR, 0.25, 0, torch.quint8)
    MATRIX = np.matrix([[0.25], [0.75]])
MASKED = np.ma.masked_array([0.25, 0.75], [True, False])
# Right for no argument at all.
WRONG = [
    "nonsense", b"auto", {"a": 1}, {1, 2}, object(), Nameless(), len, range(2), slice(1), ..., 1j, int, True,
    np.bool_(True), np.complex64(1j), np.datetime64("2020"), np.timedelta64(3, "s"), np.str_("x"), np.void(b"ab"),
    decimal.Decimal("0.25"), datetime.date(2020, 1, 1), ["a", "b"], [None, 0.2], [True, 0.5], [0.5, np.nan],
    [1, 10**400], [[0.1], [0.2, 0.3]], ([],), [np.ones(2)], [PAIR], 10**5000, -(10**400), fb.Prob(None, None),
    fb.Prob("a", 0.5), fb.Prob(fb.Prob(0.5, 0.5), 0.5), fb.Prob(True, False), fb.Prob(MASKED, [0.75, 0.25]),
    fb.Thinned(), fb.Thinned([1], "a", {}), np.array([True, False]), np.array([1j, 1.0]), np.array([None, 1.0], object),
    np.array(["a", "b"]), np.array(["2020", "2021"], "M8[Y]"), np.zeros(2, [("a", "f8")]), MASKED,
    np.ma.masked_array(np.zeros((2, 3), np.uint8), np.eye(2, 3)), PAIR > 0, PAIR * 1j, PAIR.to_sparse(),
    PAIR.to_mkldnn(), NESTED, QUANTIZED, _wrapped(), torch.tensor(True), np.array(False),
]  # fmt: skip
# Right for no argument but the x of a log-probability: it has probability or density 0, or is NaN and gives NaN.
NO_NUMBERS = [np.nan, -np.inf, np.array([[-1.0], [np.inf]]), np.full((2, 3), np.nan), torch.tensor([[0.5], [np.nan]])]
# Right for some.
ODD = [
    None, float, 0, 1, -3, 2**63, 10**30, 0.25, 1e300, fractions.Fraction(1, 4), np.float16(0.25),
    np.uint64(2**64 - 1), [], (), [0.25, 0.75], (0.25, 0.75), [[0.25], [0.75]], LONG, LONG.astype(">f8"), LONG[None],
    LONG.astype("f4")[:, None, None], MATRIX, np.float64(0.25), np.array(0.25), np.empty((2, 0)),
    np.array([2**64 - 1, 1], np.uint64), np.zeros((1,) * 30), np.full((2, 3), 2**62), np.zeros((2, 3), np.uint8),
    np.zeros(2, np.int32), PAIR, PAIR.bfloat16(), PAIR.double().requires_grad_(), PAIR.new_ones(2, device="meta"),
    torch._efficientzerotensor(2), torch.tensor(0.25), torch.complex(PAIR, -PAIR).conj().imag,
    torch.tensor([2**64 - 1, 1], dtype=torch.uint64), torch.full((2, 3), 2**62), torch.zeros(2, 3, dtype=torch.uint8),
    fb.Prob([0.25, 0.5], PAIR), RNG, RNG.tensor(), np.dtype(">f4"), torch.int32, FAKE,
]  # fmt: skip
# A FakeTensor that decides the path is torch's to handle, and so is a device that is not there.
TORCH_DECIDES = {
    ("poisson", "rate"), ("birth_loss", "logits"), ("birth_loss of each", "expected"),
    ("binomial_log_prob", "x"), ("binomial", "count"),
    ("normal", "mean"), ("gamma", "shape"), ("beta", "a"), ("beta_binomial", "n"),
    ("negative_binomial", "r"), ("beta_binomial_log_prob", "x"), ("gamma_log_prob", "x"), ("beta_log_prob", "x"),
    ("negative_binomial_log_prob", "x"), ("thin", "x_0"), ("categorical", "state"),
    ("split", "counts"), ("multinomial", "count"), ("skellam", "rate_1"),
    ("hypergeometric", "good"), ("hypergeometric_log_prob", "x"), ("multinomial_log_prob", "x"),
    ("skellam_log_prob", "x"), ("bessel", "order"), ("bessel_log_prob", "x"), ("categorical_rows", "weights"),
    ("categorical_rows of logits", "logits"), ("Uniform.sample_forward", "x_0"),
}  # fmt: skip


def _ends(call: Any, arguments: dict[str, Any], owner: str, must_fail: bool) -> str | None:
    """What is wrong with how the call ends."""
    try:
        call(**arguments)
    except (TypeError, ValueError) as error:
        text = str(error)
        named = (
            re.match(rf"{re.escape(owner.split(' ')[0])}(\.\w+)?: [^:]+: .+, got ", text)
            and "\n" not in text
            and len(text) < 500
        )
        return None if named else f"an error without names: {text!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error" if must_fail else None


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("name", _calls(np.asarray))
def test_every_argument(name: str, library: Any) -> None:
    call, arguments = _calls(library)[name]
    found = []
    for argument in arguments:
        unseen = argument == "x" and name.endswith("_log_prob")
        for must_fail, values in ((True, WRONG), (not unseen, NO_NUMBERS), (False, ODD)):
            for value in values:
                if (value is FAKE and (name, argument) in TORCH_DECIDES) or (argument == "device" and not must_fail):
                    continue
                given = {**arguments, argument: value}
                if argument == "generator":
                    given["rng"] = None
                if (wrong := _ends(call, given, name, must_fail)) is not None:
                    found.append((argument, type(value).__name__, wrong))
    assert not found, found
