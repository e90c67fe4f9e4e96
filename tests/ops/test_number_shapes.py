"""The shapes that numbers beside counts may have: one rule, whatever else is given, in every library."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastblackout as fb
from support.arrays import DLPackOnly, Through, bits

KEY = fb.Philox(3)
_RNG = np.random.default_rng(0)
SHAPE = 3, 2, 3, 1  # in which (3, 1) and (2, 3, 1) could be read in two ways
X = _RNG.integers(0, 200, SHAPE, dtype=np.uint8)
LOGITS = _RNG.normal(0, 3, SHAPE).astype(np.float32)
PROB, REAL = _RNG.random(SHAPE), _RNG.normal(size=SHAPE)
MOST = _RNG.integers(200, 256, SHAPE)
VALUES = {"max_count": MOST, "center": REAL, "scale": REAL, "weight": REAL, "offset": REAL, "gain": 9 * PROB}
PER_SAMPLE = [(), (3,), (3, 1, 1, 1), (1, 1, 1, 1)]
WITHIN = [(1, 2, 1, 1), (3, 1, 3, 1), SHAPE]
REFUSED = [(1,), (2,), (0,), (1, 1), (3, 1), (3, 1, 1), (2, 3, 1), (2, 1, 1, 1), (1, 3, 1, 1), (1, *SHAPE)]


def steps(op: Any, **how: Any) -> Callable[..., Any]:
    return lambda of, given: op(of(X), of(LOGITS), **{"step": 0.4, "rng": KEY} | how | given)


# An op with one of its arguments: the call, and what beside it changes no bit.
_MASK, _EACH = {"mask": np.array(True)}, np.ones((1, 2, 1, 1))
_STEPS = [_MASK, {"scale": _EACH, "max_count": np.full(SHAPE, 255)}]
_GAINED = [*_STEPS, {"gain": _EACH}]
CALLS: dict[tuple[str, str], tuple[Callable[..., Any], list[dict[str, Any]]]] = {
    **{("thin", name): (lambda of, given: fb.thin(of(X), **{"alive": 0.4, "rng": KEY} | given), _STEPS)
       for name in ("alive", "alive.p", "center", "scale", "max_count")},
    **{("bridge_step", name): (steps(fb.bridge_step), _GAINED)
       for name in ("step", "step.p", "attrition", "gain", "center", "max_count")},
    **{("tau_leap_step", name): (steps(fb.tau_leap_step), _GAINED)
       for name in ("step", "gain", "center", "scale", "max_count")},
    **{("birth_loss", name): (lambda of, given: fb.birth_loss(of(LOGITS), of(X), **{"weight": 0.7} | given),
       [_MASK, {"weight": 0.7 * _EACH}, {"gain": _EACH}]) for name in ("weight", "gain")},
}  # fmt: skip
CALLS["birth_loss of expected", "weight"] = (
    lambda of, given: fb.birth_loss(None, of(X), expected=of(PROB + 0.1), **given),
    [_MASK],
)


def law(of: Any, given: dict[str, Any]) -> Any:
    return fb.posterior_step(of(X), (of(LOGITS), of(-LOGITS)), **{"step": 0.4, "rng": KEY} | given, family=_FAMILY)


def law_loss(of: Any, given: dict[str, Any]) -> Any:
    return fb.posterior_loss((of(LOGITS), of(-LOGITS)), of(X), of(X // 16), **{"weight": 1.0} | given, family=_FAMILY)


def energy(of: Any, given: dict[str, Any]) -> Any:
    return fb.energy_loss(of(np.stack([LOGITS, -LOGITS])), of(X), of(X // 16), **{"weight": 1.0} | given)


_FAMILY = "beta-binomial"
ONE_A_SAMPLE: dict[tuple[str, str], Any] = {
    **{("posterior_step", name): law for name in ("step", "step.p", "offset", "center", "scale")},
    **{("posterior_loss", name): law_loss for name in ("weight", "offset")},
    **{("energy_loss", name): energy for name in ("weight", "offset")},
    ("thin_log_prob", "alive"): lambda of, given: fb.thin_log_prob(of(X), of(X), **given),
    ("bridge_log_prob", "step"): lambda of, given: fb.bridge_log_prob(of(X), of(X), of(X), **given),
}


def tensor(array: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(array))


# What the counts, and what the numbers come as; and the class of calls.
NUMPY: dict[str, Any] = {"arrays": np.asarray, "lists": np.ndarray.tolist, "tensors": tensor, "DLPack": DLPackOnly}
LIBRARIES = {name: (np.asarray, of) for name, of in NUMPY.items()}
LIBRARIES |= {"torch": (tensor, tensor), "torch, arrays": (tensor, np.asarray), "traced": (tensor, tensor)}


def given(name: str, value: np.ndarray, of: Any) -> dict[str, Any]:
    """The argument, with what it needs beside it. A name that ends in .p: as a pair."""
    if name.endswith(".p"):
        return {name[:-2]: fb.Prob(of(value), of(np.asarray(1 - value)))}
    return {name: of(value)}


def number(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of this shape, with a max_count that no count exceeds."""
    return np.asarray(np.resize(VALUES.get(name, PROB), shape))


def made(call: Any, library: str, name: str, value: np.ndarray, beside: dict[str, Any]) -> Any:
    counts, numbers = LIBRARIES[library]
    others = {key: numbers(each) if key != "mask" else counts(each) for key, each in beside.items() if key != name}
    how = others | given(name, value, numbers)
    if library != "traced":
        return call(counts, how)
    with Through():
        return call(counts, how)


def results(result: Any) -> list[Any]:
    return [bits(part) for part in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("op, name", CALLS)
def test_a_number_is_read_alike_whatever_else_is_given(op: str, name: str) -> None:
    """In every library; as given in full, or as one for each sample."""
    call, others = CALLS[op, name]
    for shape in PER_SAMPLE + WITHIN:
        value = number(name, shape)
        full = np.broadcast_to(value if len(shape) != 1 else value.reshape(3, 1, 1, 1), SHAPE).copy()
        full = full[:, 0, 0, 0] if shape in PER_SAMPLE else full
        expected = results(call(np.asarray, given(name, full, np.asarray)))
        for library in LIBRARIES:
            for beside in ({}, *others):
                got = results(made(call, library, name, value, beside))
                assert got == expected, (shape, library, beside)


@pytest.mark.parametrize("op, name", CALLS | ONE_A_SAMPLE)
def test_every_other_shape_is_refused_by_the_same_words(op: str, name: str) -> None:
    call, others = CALLS[op, name] if (op, name) in CALLS else (ONE_A_SAMPLE[op, name], [])
    of = {"thin_log_prob": "x_t", "bridge_log_prob": "x_s", "birth_loss": "logits", "thin": "x_0"}.get(op, "x_t")
    op, _, expected = op.partition(" of ")
    rule = f"{op}: {name}: shape must be (), (3,) or (3, 1, 1, 1) for a number for each sample"
    if (op, name) not in ONE_A_SAMPLE:
        rule += f", or have the 4 dimensions of {expected or of} and broadcast to {SHAPE}"
    for shape in REFUSED if (op, name) not in ONE_A_SAMPLE else REFUSED + WITHIN:
        value = number(name, shape)
        for library in LIBRARIES:
            for beside in ({}, *others):
                with pytest.raises(ValueError) as raised:
                    made(call, library, name, value, beside)
                wanted = shape if shape[0] or library != "lists" else shape[:1]
                assert str(raised.value) == f"{rule}, got {wanted}", (library, beside)


@pytest.mark.parametrize("shape, good, wrong", [
    ((3, 3), [(), (3,), (3, 1), (1, 1), (1, 3), (3, 3)], [(1,), (2,), (1, 1, 1)]),
    ((1, 4), [(), (1,), (1, 1), (1, 4)], [(4,), (4, 1)]),
    ((0, 3), [(), (0,), (0, 1), (1, 1), (1, 3), (0, 3)], [(1,), (3,), (2, 1)]),
    ((3,), [(), (3,)], [(1,), (3, 1), (1, 1)]),
    ((1,), [(), (1,)], [(1, 1), (0,)]),
    ((), [(), (1,)], [(2,), (1, 1)]),
])  # fmt: skip
def test_other_counts(shape: tuple[int, ...], good: list[Any], wrong: list[Any]) -> None:
    """Of one feature, one sample, none, and without features."""
    x = np.asarray(np.resize(X, shape))
    for of in (np.asarray, tensor):
        for numbers in good + wrong:
            value = of(np.resize(REAL, numbers))
            got = []
            for mask in (None, of(True)):
                try:
                    got.append(results(fb.thin(of(x), 0.4, rng=KEY, center=value, mask=mask)))
                except ValueError as error:
                    got.append(str(error))
                assert isinstance(got[-1], str) == (numbers in wrong), (numbers, got[-1])
            assert got[0] == got[1]


def test_a_max_count_without_dimensions() -> None:
    plain = results(fb.bridge_step(X, LOGITS, 0.4, gain=99.0, rng=KEY, max_count=220))
    for most in (np.array(220), torch.tensor(220), [220] * 3, (220, 220, 220)):
        assert results(fb.bridge_step(X, LOGITS, 0.4, gain=99.0, rng=KEY, max_count=most)) == plain


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_the_largest_max_count(dtype: str) -> None:
    """What the dtype holds; integers above 2^53 are not all float64."""
    x, most = np.array([3], dtype), min(np.iinfo(dtype).max, 2**53)
    assert fb.thin(x, 1.0, max_count=most).x_t == 3
    with pytest.raises(ValueError, match=rf"^thin: max_count: must be in .* for {dtype} counts, got {most + 1}$"):
        fb.thin(x, 1.0, max_count=int(most) + 1)


def test_the_end_of_float32() -> None:
    """What rounds to infinity is refused, on the host and where no value may be looked at but Python's own."""
    end = (2.0 - 2.0**-24) * 2.0**127

    def check(x: Any) -> None:
        for sign in (1.0, -1.0):
            fb.thin(x, 0.5, rng=KEY, center=sign * math.nextafter(end, 0.0))
            with pytest.raises(ValueError, match="^thin: center: must be finite"):
                fb.thin(x, 0.5, rng=KEY, center=sign * end)

    check(np.zeros((2, 3), np.uint8))
    check(torch.zeros(2, 3, dtype=torch.uint8))
    with FakeTensorMode():
        check(torch.zeros(2, 3, dtype=torch.uint8))
