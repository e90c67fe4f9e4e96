"""Wrong arguments of the ops on states: the type of the error, its text, and nothing written."""

import re

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.helpers import BACKENDS, using

RNG = fb.Philox(seed=51)
NAN, INF = float("nan"), float("inf")
SHAPE, S = (2, 3), 4


def base(op):
    state = np.arange(6, dtype=np.uint8).reshape(SHAPE) % S
    step = np.full((S, S), 1.0 / S)
    if op == "categorical":
        return {"state": state, "probs": step, "rng": RNG}
    if op == "CategoricalTable":
        return {"probs": step}
    if op == "categorical_bridge":
        return {"x_t": state, "logits": np.zeros((*SHAPE, S), np.float32), "before": step, "after": step, "rng": RNG}
    if op == "transition_rows":
        return {"prob": 0.5, "max_count": 7}
    if op == "thin_log_prob":
        return {"x_t": state, "x_0": state, "alive": 0.5}
    return {"x_s": state, "x_t": state, "x_0": state, "step": 0.5}


def one_bad(value, dtype=np.int32, shape=SHAPE):
    """Good but for one element."""
    array = np.ones(shape, dtype)
    array[(1,) * len(shape)] = value
    return array


def step(value, row=1, dtype=np.float64, shape=(S, S)):
    """A matrix (or several) with one wrong entry in a row that occurs."""
    array = np.full(shape, 1.0 / S, dtype)
    array[..., row, 2] = value
    return array


def law(value, dtype=np.float64):
    array = np.full((*SHAPE, S), 1.0 / S, dtype)
    array[1, 1, 2] = value
    return array


def logits(value, dtype=np.float32, all_classes=False):
    array = np.zeros((*SHAPE, S), dtype)
    array[1, 1, slice(None) if all_classes else 2] = value
    return array


INDEX = np.zeros(2, np.int64)
THREE = np.full((3, S, S), 1.0 / S)
WRONG_ROWS = [
    (step(NAN), "nan"),
    (step(INF), "inf"),
    (step(-0.1), r"least entry -0\.1"),
    (step(0.3), r"sums to 1\.05"),
    (step(0.25 + 3e-9), r"sums to 1\.000000003"),
    (step(0.2503, dtype=np.float32), r"sums to 1\.000299"),
    (np.zeros((S, S)), "sums to 0 "),
]
ROWS = [
    (op, {"probs": rows}, ValueError, f"probs: rows must be at least 0 and sum to 1 within 1?e?.*, got .*{text}")
    for rows, text in WRONG_ROWS
    for op in ("categorical", "CategoricalTable")
]
CATEGORICAL = [
    ({"state": one_bad(1, np.float16)}, TypeError, "state: dtype must be one of uint8, .*, got float16"),
    ({"state": [[0, 1]]}, TypeError, "state: must be a NumPy array, .*, got list"),
    ({"state": one_bad(4)}, ValueError, r"state: must be whole numbers in 0\.\.3, got 4\b"),
    ({"state": one_bad(-1, np.int64)}, ValueError, r"state: .* in 0\.\.3, got -1\b"),
    ({"probs": np.full((S, 300), 1 / 300)}, TypeError, "state: dtype must hold states up to 299, got uint8"),
    ({"probs": step(0.25).astype(np.float16)}, TypeError, "probs: dtype must be one of float64, float32, got float16"),
    ({"probs": np.full(S, 0.25)}, ValueError, r"probs: shape must be \(R, S\) or \(K, R, S\), got \(4,\)"),
    ({"probs": np.empty((S, 0))}, ValueError, r"probs: shape must be .*, got \(4, 0\)"),
    ({"probs": np.empty((1, 65537))}, ValueError, r"probs: must have at most 65536 states, got shape \(1, 65537\)"),
    ({"probs": THREE}, ValueError, r"probs: must hold one matrix for each of 2 samples .*, got shape \(3, 4, 4\)"),
    ({"probs": THREE, "index": np.array([0, 3])}, ValueError, r"index: must be in 0\.\.2, got 3"),
    ({"probs": THREE, "index": np.array([-1, 0])}, ValueError, r"index: must be in 0\.\.2, got -1"),
    ({"probs": THREE, "index": np.zeros(2, np.int32)}, TypeError, "index: must be int64, one a sample, got int32"),
    ({"probs": THREE, "index": [0, 0]}, TypeError, "index: must be int64, one a sample, got list"),
    ({"probs": THREE, "index": np.zeros(3, np.int64)}, ValueError, r"index: shape must be \(2,\), got \(3,\)"),
    ({"index": INDEX}, ValueError, "index: must be None where there is one matrix for all samples, got ndarray"),
    ({"probs": fb.CategoricalTable(THREE)}, ValueError, "probs: must hold one matrix for each of 2 samples"),
    ({"rng": 5}, TypeError, r"rng: must be a fastblackout\.Philox, got int"),
    ({"rng": RNG.at(first_sample=2**32 - 1)}, ValueError, r"rng: first_sample \+ samples .*, got 4294967295 \+ 2"),
    ({"backend": "gpu"}, ValueError, "backend: must be one of auto, .*, got 'gpu'"),
    ({"out": np.zeros(SHAPE, np.int16)}, TypeError, "out: dtype must be uint8, got int16"),
    ({"out": np.zeros((3, 2), np.uint8)}, ValueError, r"out: shape must be .*\(2, 3\), got \(3, 2\)"),
    ({"out": torch.zeros(SHAPE, dtype=torch.uint8)}, TypeError, "out: must be of the library of the input, got Tensor"),
]
BRIDGE = [
    ({"x_t": one_bad(4)}, ValueError, r"x_t: must be whole numbers in 0\.\.3, got 4\b"),
    ({"x_0": np.zeros(SHAPE, np.uint8)}, TypeError, r"x_0: exactly one of .*, got \['x_0', 'logits'\]"),
    ({"logits": None}, TypeError, "x_0: exactly one of x_0, logits and probs must be given, got none"),
    ({"logits": None, "x_0": one_bad(-1)}, ValueError, r"x_0: must be whole numbers in 0\.\.3, got -1\b"),
    ({"logits": None, "x_0": np.zeros((2, 4), np.uint8)}, ValueError, r"x_0: shape must be that of x_t.*got \(2, 4\)"),
    ({"logits": None, "x_0": torch.zeros(SHAPE, dtype=torch.uint8)}, TypeError, "x_0: must be of the library of x_t"),
    (
        {"logits": np.zeros((*SHAPE, 5), np.float32)},
        ValueError,
        r"logits: shape must be .*, \(2, 3, 4\), got \(2, 3, 5\)",
    ),
    ({"logits": np.zeros((*SHAPE, S), int)}, TypeError, "logits: dtype must be one of float32, .*, got int64"),
    ({"logits": logits(NAN)}, ValueError, "logits: must be below infinity, .* float32, got nan"),
    ({"logits": logits(INF, np.float16)}, ValueError, "logits: must be below infinity, .*, got inf"),
    (
        {"logits": logits(1e39, np.float64)},
        ValueError,
        "logits: must be below infinity, .*, got (inf|1e\\+39|9.99.*38)",
    ),
    ({"logits": logits(-INF, all_classes=True)}, ValueError, "logits: .* one of each element finite .*, got -inf"),
    ({"logits": None, "probs": law(0.3)}, ValueError, r"probs: rows must be at least 0 .*, got .*sums to 1\.05"),
    ({"logits": None, "probs": law(NAN, np.float32)}, ValueError, "probs: rows must be at least 0 .*, got .*nan"),
    ({"before": np.full((S, 5), 0.2)}, ValueError, r"before: shape must end in \(5, 5\), got \(1, 4, 5\)"),
    ({"after": np.full((5, 5), 0.2)}, ValueError, r"after: shape must end in \(4, 4\), got \(1, 5, 5\)"),
    ({"before": step(0.25, dtype=np.float32)}, TypeError, "before: dtype must be one of float64, got float32"),
    ({"before": THREE}, ValueError, "before: must hold one matrix for each of 2 samples"),
    ({"before": THREE, "after": THREE[:2]}, ValueError, "after: must hold as many matrices as before, 3, got 2"),
    ({"after": THREE, "index": np.array([0, 3])}, ValueError, r"index: must be in 0\.\.2, got 3"),
    ({"index": INDEX}, ValueError, "index: must be None where there is one matrix for all samples"),
    ({"before": np.full((S, S), NAN)}, ValueError, r"before: must be in \[0, 1\], got nan"),
    ({"before": np.full((S, S), -0.25)}, ValueError, r"before: must be in \[0, 1\], got -0\.25"),
    ({"after": np.full((S, S), 1.5)}, ValueError, r"after: must be in \[0, 1\], got 1\.5"),
    ({"after": np.zeros((S, S))}, ValueError, "x_0: must have a path to x_t, got x_0 = [0-3], x_t = 0"),
    ({"out": np.zeros(SHAPE, np.int32)}, TypeError, "out: dtype must be uint8, got int32"),
]
TRANSITION = [
    ("transition_rows", {"prob": 1.5}, ValueError, r"prob: must be in \[0, 1\], got 1\.5"),
    ("transition_rows", {"prob": np.ones((2, 2))}, ValueError, r"prob: shape must be \(\), .*, got \(2, 2\)"),
    ("transition_rows", {"prob": np.float32(1.5)}, ValueError, r"prob: must be in \[0, 1\], got 1\.5"),
    ("transition_rows", {"max_count": -1}, ValueError, r"max_count: must be in 0\.\.4095, got -1"),
    ("transition_rows", {"max_count": 4096}, ValueError, r"max_count: must be in 0\.\.4095, got 4096"),
    ("transition_rows", {"max_count": 7.0}, TypeError, r"max_count: must be an integer, got 7\.0"),
    ("transition_rows", {"backend": "gpu"}, ValueError, "backend: must be one of auto, .*, got 'gpu'"),
    (
        "thin_log_prob",
        {"x_t": one_bad(-1)},
        ValueError,
        r"x_t: must be whole numbers in 0\.\.9007199254740992, got -1\b",
    ),
    (
        "thin_log_prob",
        {"x_0": one_bad(2**53 + 1, np.int64)},
        ValueError,
        r"x_0: must be whole numbers .*, got 90071992547",
    ),
    ("thin_log_prob", {"x_0": one_bad(1, np.float16)}, TypeError, "x_0: dtype must be one of uint8, .*, got float16"),
    ("thin_log_prob", {"x_0": np.zeros((2, 4), int)}, ValueError, r"x_0: shape must be that of x_t.*, got \(2, 4\)"),
    ("thin_log_prob", {"x_0": torch.ones(SHAPE, dtype=torch.uint8)}, TypeError, "x_0: must be of the library of x_t"),
    ("thin_log_prob", {"alive": NAN}, ValueError, r"alive: must be in \[0, 1\], got nan"),
    ("thin_log_prob", {"alive": np.full(3, 0.5)}, ValueError, r"alive: shape must be \(\), \(2,\) .*, got \(3,\)"),
    ("bridge_log_prob", {"x_s": one_bad(-1)}, ValueError, r"x_s: must be whole numbers .*, got -1\b"),
    ("bridge_log_prob", {"x_t": one_bad(-1)}, ValueError, r"x_t: must be whole numbers .*, got -1\b"),
    ("bridge_log_prob", {"x_0": one_bad(-1)}, ValueError, r"x_0: must be whole numbers .*, got -1\b"),
    (
        "bridge_log_prob",
        {"step": fb.Prob(0.5, 0.4)},
        ValueError,
        r"step: p \+ q must be 1 .*, got p = 0\.5 and q = 0\.4",
    ),
]
ALL = [("categorical", *case) for case in CATEGORICAL] + [("categorical_bridge", *case) for case in BRIDGE]
ALL += [*TRANSITION, *ROWS]


@pytest.mark.parametrize("number", range(len(ALL)))
@pytest.mark.parametrize("name", BACKENDS)
def test_error_names_op_argument_and_value(name, number):
    op, changes, error, text = ALL[number]
    arguments = base(op) | changes
    state = arguments.get("state", arguments.get("x_t"))
    takes_out = op in ("categorical", "categorical_bridge") and "out" not in changes
    out = (
        np.full(SHAPE, 123, state.dtype)
        if takes_out and getattr(state, "dtype", None) in (np.uint8, np.int32)
        else None
    )
    if out is not None:
        arguments["out"] = out
    with using(name), pytest.raises(error) as raised:
        getattr(fb, op)(**arguments)
    assert re.match(f"{op}: {text}", str(raised.value)), str(raised.value)
    assert out is None or (out == 123).all()


def test_every_base_call_is_right(backend):
    """So that each case above fails for its change alone."""
    for op in {case[0] for case in ALL}:
        getattr(fb, op)(**base(op))


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_the_first_wrong_row_is_named_whatever_the_threads(name):
    """The row of state 3 is wrong and first occurs in sample 1; rows of states that do not occur may be anything."""
    probs = np.full((5, 5), 0.2)
    probs[3, 1], probs[4] = 0.5, NAN
    state = np.zeros((3, 70_000), np.uint8)
    state[1, 66_000] = state[2, 5] = 3
    for threads in (1, 2):
        with using(name, threads), pytest.raises(ValueError, match="at sample 1, element 66000, state 3$"):
            fb.categorical(state, probs, rng=RNG)
    state[state == 3] = 1
    assert fb.categorical(state, probs, rng=RNG).max() < 5


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_the_first_element_without_a_path_is_named(name):
    before = np.eye(3)
    x_t = np.zeros((3, 40_000), np.uint8)
    x_t[1, 39_000] = x_t[2, 7] = 2
    for threads in (1, 2):
        with using(name, threads), pytest.raises(ValueError, match="x_0 = 0, x_t = 2 at sample 1, element 39000$"):
            fb.categorical_bridge(x_t, 0 * x_t, before=before, after=np.eye(3), rng=RNG)
