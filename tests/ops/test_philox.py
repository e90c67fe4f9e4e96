"""Philox4x32-10 against Random123's known answers, the key's checks, and where a missing key comes from."""

import contextlib
import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends.tensors import stream_words
from fastblackout.call.keys import late_key, resolve_rng
from fastblackout.philox import Philox
from fastblackout.reference.philox import Stream, philox4x32
from support.arrays import Through
from support.known_answers import PHILOX


def scalar_philox(counter, key, rounds=10):
    """Python integers only, written from the paper: an oracle that shares no line with the NumPy code."""
    c, k = list(counter), list(key)
    for _ in range(rounds):
        m0, m1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [m1 >> 32 ^ c[1] ^ k[0], m1 & 0xFFFFFFFF, m0 >> 32 ^ c[3] ^ k[1], m0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


@pytest.mark.parametrize("vector", PHILOX)
def test_known_answers(vector):
    words = philox4x32(*(int(w, 16) for w in vector["counter"] + vector["key"]))
    assert [f"{int(w):08x}" for w in words] == vector["result"]


def test_broadcasting():
    block, sample = np.arange(5, dtype=np.uint32), np.arange(3, dtype=np.uint32)[:, None]
    words = philox4x32(block, sample, 7, Stream.THIN_DRAW.word(), 1, 2)
    assert all(w.shape == (3, 5) for w in words)
    assert [int(w[2, 4]) for w in words] == scalar_philox([4, 2, 7, 1 << 24], [1, 2])


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (2, 7), (2, 0), (0, 5)])
@pytest.mark.parametrize("key", [(1, 0, 0), (2**64 - 1, 2**32 - 2, 2**32 - 1), (0x0123456789ABCDEF, 7, 1 << 31)])
def test_words_of_tensors(shape, key):
    """Samples past 2^32 - 1 count on from 0. Of a sample that ends within a block the rest of its words is cut."""
    rng = Philox(key[0], first_sample=key[1], call=key[2])
    found = stream_words(shape, rng.tensor(), Stream.REDRAW)
    assert found.dtype == torch.int64 and found.shape == shape
    for (b, i), word in np.ndenumerate(found.numpy()):
        counter = [i // 4, (rng.first_sample + b) % 2**32, rng.call, Stream.REDRAW.word()]
        assert word == scalar_philox(counter, rng.key)[i % 4]


def test_streams_are_distinct_and_fit_a_byte():
    assert len(Stream) == len({int(s) for s in Stream}) == 63
    assert all(0 < s < 256 for s in Stream)
    assert Stream.THIN_REFINE.word(5) == 2 << 24 | 5


def test_key_is_an_immutable_value():
    rng = Philox(seed=0x0123456789ABCDEF, first_sample=3, call=4)
    assert rng.key == (0x89ABCDEF, 0x01234567)
    assert rng.at(call=9) == Philox(rng.seed, first_sample=3, call=9)
    assert rng.at(first_sample=0) == Philox(rng.seed, first_sample=0, call=4)
    again = Philox(rng.seed, first_sample=3, call=4)
    assert rng == again and hash(rng) == hash(again)
    fresh = late_key(None, torch.Generator().manual_seed(1), "thin").at(call=2, first_sample=7)
    for key in (rng, fresh):
        for copied in (copy.copy(key), copy.deepcopy(key), *(pickle.loads(pickle.dumps(key, at)) for at in (0, 2, 5))):
            assert (copied.seed, copied.first_sample, copied.call) == (key.seed, key.first_sample, key.call)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rng.call = 5
    with pytest.raises(TypeError, match="positional argument"):
        Philox(0, 3)  # of which nobody would see whether 3 is a sample or a call
    assert type(Philox(seed=np.int64(5)).seed) is int
    assert Philox(2**64 - 1, first_sample=2**32 - 1, call=2**32 - 1).seed == 2**64 - 1


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"seed": 2**64}, r"Philox: seed: must be in 0\.\.2\^64 - 1, got 18446744073709551616"),
        ({"seed": -1}, r"Philox: seed: .* got -1"),
        ({"call": 2**32}, r"Philox: call: must be in 0\.\.2\^32 - 1, got 4294967296"),
        ({"first_sample": -5}, r"Philox: first_sample: .* got -5"),
    ],
)
def test_out_of_range(kwargs, text):
    with pytest.raises(ValueError, match=text):
        Philox(**kwargs)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, np.float64(2), np.ones(1), np.array([1, 2]), np.bool_(True)])
@pytest.mark.parametrize("name", ["seed", "first_sample", "call"])
def test_wrong_type(name, value):
    with pytest.raises(TypeError, match=f"Philox: {name}: must be an integer, got"):
        Philox(**{name: value})


def test_resolve_given_key_or_generator():
    rng = Philox(5)
    assert resolve_rng(rng, None, "thin") is rng
    first, second = (torch.Generator().manual_seed(11) for _ in range(2))
    a, b = resolve_rng(None, first, "thin"), resolve_rng(None, first, "thin")
    assert a == resolve_rng(None, second, "thin")
    assert a != b and a.first_sample == a.call == 0


def test_resolve_default_follows_manual_seed():
    torch.manual_seed(3)
    seeds = [resolve_rng(None, None, "thin").seed for _ in range(64)]
    torch.manual_seed(3)
    assert [resolve_rng(None, None, "thin").seed for _ in range(64)] == seeds
    # All 64 bits are used: each bit is 0 somewhere and 1 somewhere (false alarm 128 * 2^-64, and the seed is fixed).
    assert np.bitwise_or.reduce(np.array(seeds, np.uint64)) == 2**64 - 1
    assert np.bitwise_and.reduce(np.array(seeds, np.uint64)) == 0


def test_resolve_errors():
    with pytest.raises(ValueError, match="bridge_step: rng: must not be given together with generator"):
        resolve_rng(Philox(1), torch.Generator(), "bridge_step")
    for resolve, wrong in ((late_key, torch.Generator()), (resolve_rng, 3.0), (resolve_rng, True)):
        rule = r"thin: rng: must be a fastblackout.Philox or its seed \(a torch.Generator goes to generator=\), got"
        with pytest.raises(TypeError, match=f"{rule} {type(wrong).__name__}"):
            resolve(wrong, None, "thin")
    with pytest.raises(TypeError, match="thin: generator: must be a torch.Generator, got Generator"):
        resolve_rng(None, np.random.default_rng(0), "thin")


@pytest.mark.parametrize("name", ["first_sample", "call"])
def test_a_key_tensor_holds_words(name):
    x = np.full((1, 50), 9, np.uint8)
    key, at = fb.Philox(5).tensor(), 1 + (name == "call")
    key[at] = 2**32 - 1
    assert (fb.thin(x, 0.5, rng=key).x_t == fb.thin(x, 0.5, rng=fb.Philox(5, **{name: 2**32 - 1})).x_t).all()
    for wrong in (2**32, -1):
        key[at] = wrong
        with pytest.raises(ValueError, match=rf"^thin: rng: {name} of a key tensor must be in .*, got {wrong}$"):
            fb.thin(x, 0.5, rng=key)


@pytest.mark.parametrize("way", ["numpy", "tensors", "traced"])
@pytest.mark.parametrize("wrong", [{"center": np.nan}, {"outputs": ("x_t", "x_s")}, {"max_count": -1}, "out"])
def test_a_call_that_is_refused_draws_no_seed(way, wrong):
    x = np.arange(24, dtype=np.uint8).reshape(4, 6)
    x = x if way == "numpy" else torch.from_numpy(x)
    options = {"out": fb.Thinned(x_t=x[:2])} if wrong == "out" else wrong
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    with Through() if way == "traced" else contextlib.nullcontext(), pytest.raises(ValueError, match="thin: "):
        fb.thin(x, 0.5, generator=generator, **options)
    assert torch.equal(generator.get_state(), before)


def test_a_key_of_a_class_of_ones_own_draws_the_same():
    class Key(fb.Philox):
        __slots__ = ()

    counts = np.full((3, 50), 9, np.uint8)
    for given in (counts, torch.from_numpy(counts)):
        made, wanted = (fb.thin(given, 0.5, rng=key(5, first_sample=2, call=7)).x_t for key in (Key, fb.Philox))
        assert (made == wanted).all()
