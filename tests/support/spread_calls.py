"""Calls whose gain, weight, step or max_count differ within a sample, in NumPy, torch and on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastblackout as fb

KEY = fb.Philox(3, first_sample=2, call=5)
_RNG = np.random.default_rng(0)
SHAPE = 4, 3, 5
X = _RNG.integers(0, 200, SHAPE).astype(np.int32)
LOGITS = (3 * _RNG.normal(size=SHAPE)).astype(np.float32)
P = _RNG.random(SHAPE)
GAIN = np.array([[[1.5], [20.0], [300.0]]])  # of each feature
MOST = np.maximum(X.max((0, 2)) + 8, 130).reshape(1, 3, 1)
WEIGHT = _RNG.normal(size=SHAPE)
BIRTHS = _RNG.integers(0, 40, SHAPE)
EXPECTED = np.where(BIRTHS % 7 == 0, 0.0, 40 * _RNG.random(SHAPE))
BORN = np.where(EXPECTED == 0, 0, BIRTHS)
MASK = _RNG.random((1, 3, 5)) < 0.7

Make = Callable[[Any], Any]


def steps(of: Make = lambda array: array, x: Any = X, rng: Any = KEY, **how: Any) -> dict[str, Any]:
    """of: makes an array of NumPy's."""
    x, logits, p, gain, most = map(of, (x, LOGITS, P, GAIN, MOST))
    bridge, leap = (lambda *given, op=op, **more: op(x, *given, rng=rng, **how, **more) for op in _STEPS)
    return {
        "thin": fb.thin(x, 0.4, max_count=most, rng=rng, **how),
        "thin of each": fb.thin(x, p, max_count=most, rng=rng, **how),
        "gain": bridge(logits, 0.4, gain=gain, attrition=0.1, max_count=220),
        "gain, rounded": bridge(logits, p, gain=gain, rounding="nearest", max_count=220),
        "room": bridge(logits, 0.4, gain=50.0, max_count=most),
        "room and deaths": bridge(logits, 0.4, gain=50.0, attrition=0.3, max_count=most),
        "all of each": bridge(logits, p, gain=gain, attrition=p, max_count=most),
        "leap, gain": leap(logits, 0.4, gain=gain, max_count=220),
        "leap, step": leap(logits, p, gain=30.0, max_count=220),
        "leap, room": leap(logits, 0.4, gain=50.0, max_count=most),
        "leap, all of each": leap(logits, p, gain=gain, max_count=most, mask=of(MASK)),
    }


_STEPS = fb.bridge_step, fb.tau_leap_step


def losses(of: Make = lambda array: array, graded: bool = False, **how: Any) -> dict[str, Any]:
    """Of each call the losses, and if it is graded, of tensors, the gradient. of: as above."""
    born, weight, gain = map(of, (BORN, WEIGHT, GAIN))
    calls: dict[str, Callable[[Any], Any]] = {
        "weight": lambda given: fb.birth_loss(given, born, weight, gain=2.0, **how),
        "gain": lambda given: fb.birth_loss(given, born, 1.5, gain=gain, **how),
        "both, masked": lambda given: fb.birth_loss(given, born, weight, gain=gain, mask=of(MASK), **how),
        "expected": lambda given: fb.birth_loss(None, born, 0.7, expected=given, **how),
        "expected, weight": lambda given: fb.birth_loss(None, born, weight, expected=given, mask=of(MASK), **how),
    }
    made: dict[str, Any] = {}
    for name, call in calls.items():
        given = of(EXPECTED if "expected" in name else LOGITS)
        if not graded:
            made[name] = (call(given),)
            continue
        leaf = given.clone().requires_grad_()
        value = call(leaf)
        (value * of(np.float32([1.0, -2.5, 0.5, 3.0]))).sum().backward()
        made[name] = value.detach(), leaf.grad
    return made
