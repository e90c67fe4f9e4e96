"""What wrong arguments of the ops are told: error_texts.txt has calls, then all that the contract calls violations.

And what lies where an error is told.
"""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

import fastblackout as fb
from support.contract.calls import FEATURES
from support.contract.check import texts
from support.error_texts import compare, told
from support.helpers import BACKENDS, using

RNG, NAN, INF, S = fb.Philox(seed=51), float("nan"), float("inf"), 4
X = np.arange(6, dtype=np.uint8).reshape(2, 3)
LOGITS = np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)
STATE, STEP = X % S, np.full((S, S), 1.0 / S)
THREE, INDEX, HUGE = np.full((3, S, S), 1.0 / S), np.zeros(2, np.int64), np.broadcast_to(np.uint8(0), (1, 2**32))
ONES, DRAWS = torch.ones(2, 3, dtype=torch.uint8), torch.zeros(2, 2, 3)
EACH, SPARSE = X / 9.0 + 0.1, scipy.sparse.csr_matrix(X)
BASE = {
    "thin": {"x_0": X, "alive": 0.5, "rng": RNG},
    "bridge_step": {"x_t": X, "logits": LOGITS, "step": 0.5, "rng": RNG},
    "tau_leap_step": {"x_t": X, "logits": LOGITS, "step": 0.5, "rng": RNG},
    "birth_loss": {"logits": LOGITS, "births": X, "weight": 1.0},
    "energy_loss": {"logits": DRAWS, "x_t": ONES, "births": ONES, "weight": 1.0},
    "posterior_loss": {"head": (LOGITS, LOGITS), "x_t": X, "births": X, "weight": 1.0, "family": "beta-binomial"},
    "posterior_step": {"x_t": X, "head": (LOGITS, LOGITS), "step": 0.5, "family": "beta-binomial", "rng": RNG},
    "split": {"counts": X, "rng": RNG},
    "multinomial": {"count": np.ones((2, 3), np.int64), "probs": np.ones((3, 4)), "rng": RNG},
    "skellam": {"rate_1": np.ones((2, 3)), "rate_2": 1.0, "rng": RNG},
    "normal": {"mean": LOGITS, "std": 0.5, "rng": RNG},
    "binomial": {"count": X, "prob": 0.5, "rng": RNG},
    "poisson": {"rate": LOGITS + 2, "rng": RNG},
    "categorical": {"state": STATE, "probs": STEP, "rng": RNG},
    "CategoricalTable": {"probs": STEP},
    "categorical_bridge": {
        "x_t": STATE, "logits": np.zeros((2, 3, S), np.float32), "before": STEP, "after": STEP, "rng": RNG,
    },
    "transition_rows": {"prob": 0.5, "max_count": 7},
    "thin_log_prob": {"x_t": STATE, "x_0": STATE, "alive": 0.5},
    "bridge_log_prob": {"x_s": STATE, "x_t": STATE, "x_0": STATE, "step": 0.5},
}  # fmt: skip


def call(op, **changes):
    return getattr(fb, op)(**BASE[op] | changes)


def one_bad(value, dtype=np.int32, shape=(2, 3)):
    """Ones, but for one element."""
    array = np.ones(shape, dtype)
    array[(1,) * len(shape)] = value
    return array


def step(value, dtype=np.float64):
    """A matrix with one wrong entry in a row that occurs."""
    matrix = np.full((S, S), 1.0 / S, dtype)
    matrix[1, 2] = value
    return matrix


def weights(value, right, dtype=np.float32, classes=2):
    """Logits or probabilities of states, but for one element."""
    array = np.full((2, 3, S), right, dtype)
    array[1, 1, classes] = value
    return array


FILE, VIOLATIONS = Path(__file__).with_name("error_texts.txt"), "# Every violation of the contract"


def test_error_texts():
    calls, mark, rest = FILE.read_text().partition(VIOLATIONS)
    compare(FILE, told(calls, globals()) + mark + rest.partition("\n")[0] + "\n" + texts(FEATURES))


def test_every_base_call_is_right():
    """So that each call of error_texts.txt fails for its change alone."""
    for op in BASE:
        call(op)


def test_outputs_that_overlap():
    memory, x = np.zeros(68, np.uint8), np.zeros((4, 4), np.uint8)
    beside, first = memory[1:17].reshape(4, 4), memory[:16].reshape(4, 4)
    window = np.lib.stride_tricks.as_strided(np.zeros(40, np.uint8), (4, 4), (1, 1))
    record = np.zeros((4, 4), [("a", "u1"), ("b", "f4")])["b"]
    for counts, out, text in (
        (first, {"x_t": beside}, "x_t: must not overlap the input"),
        (x, {"x_t": x.T}, "x_t: must not overlap the input"),
        (x, {"births": x}, "births: must not overlap the input"),
        (
            x,
            {"x_t": memory[20:36].reshape(4, 4), "births": memory[30:46].reshape(4, 4)},
            "births: must not overlap out.x_t",
        ),
        (x, {"x_t": window}, r"x_t: elements must not overlap, got strides \(1, 1\)"),
        (x, {"x_t": np.broadcast_to(x[0], (4, 4))}, "x_t: elements must not overlap"),
        (x, {"model_input": record}, "model_input: .*, got "),
    ):
        with pytest.raises((ValueError, TypeError), match=f"^thin: out.{text}"):
            fb.thin(counts, 0.5, rng=RNG, out=fb.Thinned(**out))
        assert all((value == 0).all() for value in out.values())


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_the_first_wrong_element_is_named_whatever_the_threads(name):
    """The wrong row of `probs` first occurs in sample 1; rows of states that do not occur may be anything."""
    x, state, pair = np.ones((3, 70_000), np.int32), np.zeros((3, 70_000), np.uint8), np.zeros((3, 40_000), np.uint8)
    x[1, 66_000], x[2, 5] = 300, 400
    probs = np.full((5, 5), 0.2)
    probs[3, 1], probs[4] = 0.5, NAN
    state[1, 66_000] = state[2, 5] = 3
    pair[1, 39_000] = pair[2, 7] = 2
    out = fb.Thinned(*(np.full(x.shape, 123, v) for v in ("int32", "int32", "float32")))
    for threads in (1, 2):
        with using(name, threads):
            with pytest.raises(ValueError, match="got 300 at sample 1, element 66000$"):
                fb.thin(x, 0.5, rng=RNG, max_count=255, out=out)
            with pytest.raises(ValueError, match="at sample 1, element 66000, state 3$"):
                fb.categorical(state, probs, rng=RNG)
            with pytest.raises(ValueError, match="x_0 = 0, x_t = 2 at sample 1, element 39000$"):
                fb.categorical_bridge(pair, 0 * pair, before=np.eye(3), after=np.eye(3), rng=RNG)
    assert all((v == 123).all() for v in out)
    state[state == 3] = 1
    assert fb.categorical(state, probs, rng=RNG).max() < 5
