"""What a GPU's handlers do with XLA's stream and memory, in the SIMT shim and by call frames that are made up here.

tests/support/jax_device_checks.py calls the same handlers from JAX.
"""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends import available
from support.xla_frames import CONTEXT, POISON, REFUSED, STREAM, Xla, addressof, metadata, poisoned

SIMT = available.load("_simt")
pytestmark = pytest.mark.skipif(isinstance(SIMT, str), reason=f"{SIMT}; FASTBLACKOUT_SIMT=1 builds it")
ASKED = [(32, None, CONTEXT)]  # one question for the stream, of this size and for this call
KEYS = [fb.Philox(1 << 40 | 7, first_sample=3, call=2), fb.Philox(8)]
WORDS = np.array([[k.seed & 0xFFFFFFFF, k.seed >> 32, k.first_sample, 0, k.call, 0] for k in KEYS], np.uint32)
RNG = np.random.default_rng(0)
P = np.float32([0.25, 0.1, 0.9])
GUARD = 16  # words after the scratch


@pytest.fixture(autouse=True)
def streams():
    SIMT.ask_for_stream(True)
    SIMT.streams()
    yield
    SIMT.ask_for_stream(False)


def scratch(words):
    """So many uint32, which hold anything, and the guard after them."""
    whole = poisoned(words + GUARD, np.uint32)
    return whole[:words], whole[words:]


def attributes(said, rank, given, made, **others):
    known = {"rank": rank, "present": given, "wanted": made, "names": said, "result_rank": rank, "isa": -1}
    return {"max_count": 255, "choice": 1, "threads": 1, **known, **others}


def thin(xla, words=2 * 3 * 17):
    """A thinning of two slices with a key each, by probabilities in float32; what was said, drawn, and the guard."""
    x = RNG.integers(0, 256, (1, 3, 40)).astype(np.uint8)
    results, (room, guard) = [poisoned((2, 3, 40), np.uint8), poisoned((2, 3, 40), np.float32)], scratch(words)
    given = [x, P[None], WORDS, np.array([[0, 1, 2]], np.int32), np.float32([[0.5]])]
    said = attributes("thin center scale", 2, 0b111011, 0b101)
    answer = xla.call(SIMT.xla_handlers()["thin"], given, [*results, room], said)
    how = {"center": np.arange(3.0), "scale": 0.5, "outputs": ("x_t", "model_input")}
    return answer, results, [fb.thin(x[0], P, rng=key, **how) for key in KEYS], guard


def test_all_work_is_given_to_the_stream_of_xla():
    xla = Xla()
    answer, (x_t, model_input), expected, guard = thin(xla)
    assert answer is None and xla.streams == ASKED and xla.others == 0
    assert SIMT.streams() == [STREAM] * 3  # numbers of both slices in one launch, then a thinning each
    for at, each in enumerate(expected):
        assert (x_t[at] == each.x_t).all() and (model_input[at] == each.model_input).all()
    assert (guard.view(np.uint8) == POISON).all()


def test_an_error_of_xla_is_given_back():
    xla = Xla(refuses=True)
    answer, (x_t, _), _, _ = thin(xla)
    assert answer == REFUSED and xla.error is None and xla.streams == ASKED
    assert SIMT.streams() == [] and (x_t == POISON).all()


def test_scratch_that_is_too_small_is_refused():
    xla = Xla()
    answer, (x_t, _), _, guard = thin(xla, words=20)
    assert answer == REFUSED + 1 and xla.error == ("scratch is too small", 13)
    assert SIMT.streams() == [] and (x_t == POISON).all() and (guard.view(np.uint8) == POISON).all()


def test_counters_begin_at_zero_and_become_int32():
    x, births = np.full((2, 300), 250, np.uint8), np.float32([[9.0], [0.0]]) + np.zeros((1, 300), np.float32)
    x_s, overshoot, (room, guard) = poisoned(x.shape, np.uint8), poisoned(2, np.int32), scratch(2 * 17)
    one = np.float32([1.0])
    given = [x, births, np.float32([0.7]), WORDS[1], one, 0 * one, one]
    said = attributes("tau_leap_step step gain center scale", 2, 0b11111101, 0b101)
    handler, xla = SIMT.xla_handlers()["tau_leap_step"], Xla()
    assert xla.call(handler, given, [x_s, overshoot, room], said) is None and xla.streams == ASKED
    expected = fb.tau_leap_step(x, births=births, step=np.float32(0.7), rng=KEYS[1])
    assert (x_s == expected.x_s).all() and (overshoot == expected.overshoot).all() and overshoot[0] > 0
    assert SIMT.streams() == [STREAM] * 3 and (guard.view(np.uint8) == POISON).all()


def test_scratch_of_a_loss():
    """Of nine chunks, whose counters begin at zero whatever the scratch held."""
    logits, births = RNG.normal(size=(2, 9 * 1024 - 5)).astype(np.float32), np.ones((1, 1), np.uint8)
    loss, (room, guard) = poisoned(2, np.float32), scratch(2 * (16 + 9))
    given = [logits, births, np.float32([2.0, 3.0]), np.float32([1.5])]
    said = attributes("birth_loss weight gain", 2, 0b1111, 1, result_rank=1)
    xla = Xla()
    assert xla.call(SIMT.xla_handlers()["birth_loss"], given, [loss, room], said) is None and xla.streams == ASKED
    expected = fb.birth_loss(logits, np.ones(logits.shape, np.uint8), np.float32([2, 3]), gain=1.5)
    assert (loss == expected).all() and SIMT.streams() == [STREAM] * 2 and (guard.view(np.uint8) == POISON).all()


@pytest.mark.parametrize("schedule", ["forward", "reverse"])
def test_numbers_that_are_made_at_once(schedule):
    """A weight for all samples times the gradient by each loss: no block of a launch reads what another one writes."""
    logits, births = RNG.normal(size=(2, 3)).astype(np.float32), np.ones((2, 3), np.float32)
    grad, upstream, (room, guard) = poisoned((2, 3), np.float32), np.float32([0.3, -7.0]), scratch(2 * 17)
    given = [logits, births, np.float32([0.1]), np.int32([2]), upstream]
    xla = Xla()
    SIMT.configure(schedule)
    try:
        said = attributes("birth_loss weight gain", 2, 0b11111, 1)
        assert xla.call(SIMT.xla_handlers()["birth_loss_backward"], given, [grad, room], said) is None
    finally:
        SIMT.configure()
    tensor = torch.from_numpy(logits).requires_grad_()
    loss = fb.birth_loss(tensor, torch.from_numpy(births), np.float32(0.1), gain=2.0)
    loss.backward(torch.from_numpy(upstream))
    assert (grad == tensor.grad.numpy()).all() and (guard.view(np.uint8) == POISON).all()


def test_poisson_counts_above_int32():
    """Become the largest int32: a kernel cannot raise."""
    out, (room, _) = poisoned((1, 2), np.int32), scratch(17)
    given = [np.float32([[1e12, 3.0]]), WORDS[1]]
    xla = Xla()
    assert xla.call(SIMT.xla_handlers()["poisson"], given, [out, room], attributes("poisson", 2, 0b11, 1)) is None
    expected = fb.poisson(given[0], rng=KEYS[1])
    assert expected[0, 0] > 2**31 and (out == np.minimum(expected, 2**31 - 1)).all()


def test_too_many_dimensions_are_refused():
    shape = (1, *(2, 3) * 5)
    count = np.ones(shape, np.uint8)
    out, prob = poisoned(shape, np.uint8), np.full((1, *(1, 3) * 5), 0.5, np.float32)
    xla = Xla()
    given = [count, prob, WORDS[0]]
    said = attributes("binomial", len(shape), 0b1011, 1)
    assert xla.call(SIMT.xla_handlers()["binomial"], given, [out, scratch(50)[0]], said) == REFUSED + 1
    assert xla.error == ("binomial: arrays may have at most 8 dimensions that do not merge", 3)


@pytest.mark.parametrize("op", SIMT.xla_handlers() if not isinstance(SIMT, str) else [])
def test_a_handler_tells_its_version(op):
    (extension, answer), xla = metadata(), Xla()
    assert xla.call(SIMT.xla_handlers()[op], [], [], {}, addressof(extension)) is None
    assert (answer.version.major, answer.version.minor, answer.traits) == (0, 1, 0) and xla.streams == []
