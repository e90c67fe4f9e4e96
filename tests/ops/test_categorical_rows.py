"""fb.categorical_rows: bits by plain loops, on every backend and through tensors; the law; wrong rows."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fastblackout as fb
from fastblackout.backends import tensors
from fastblackout.reference import categorical_rows as reference
from fastblackout.reference import portfloat as pf
from fastblackout.reference.philox import Stream, philox4x32
from support.arrays import DLPackOnly, bits
from support.helpers import BACKENDS, KEYS, chi_square_counts, pairwise, using

FALSE_ALARM = 1e-6  # of each chi-square test, with fixed seeds
NAN, INF = float("nan"), float("inf")


class Traced(TorchDispatchMode):
    """Calls under it go through tensors, as on a device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def rows(shape, states, kind, seed=0):
    random = np.random.default_rng(seed)
    if kind == "logits":
        values = random.normal(size=(*shape, states)) * 6 - 40
        values[random.random(values.shape) < 0.2] = -INF
        values[..., states // 2] = -40
    else:
        values = random.random((*shape, states)) ** 4 * 1e-3
        values[random.random(values.shape) < 0.2] = 0
        values[..., states // 2] += 1e-4
    return values


def uniform(key, i):
    """The 62 bits of a row of the first sample."""
    high, low = (
        int(philox4x32(i // 4, key.first_sample, key.call, stream.word(), *key.key)[i % 4])
        for stream in (Stream.CATEGORICAL_ROWS, Stream.CATEGORICAL_ROWS_REFINE)
    )
    return (high << 32 | low) >> 2


def plainly(values, is_logits, key):
    """Of one sample, by integers of Python."""
    drawn = []
    for i, row in enumerate(values):
        row = row.astype(np.float64)
        row = pf.exp(row - row.max()) * (row - row.max() >= -700) if is_logits else row / row.max()
        scale = 2 ** min(52, 62 - (len(row) - 1).bit_length())
        q = [round(w * scale) for w in row.tolist()]  # ties to even
        goal = uniform(key, i) * sum(q) >> 62
        drawn.append(next(j for j, below in enumerate(itertools.accumulate(q)) if below > goal))
    return drawn


@pytest.mark.parametrize("kind", ["weights", "logits"])
@pytest.mark.parametrize("states", [1, 2, 3, 255, 256, 257, 1500])
def test_the_reference_is_what_it_says(kind, states):
    key = fb.Philox(2**63 + 5, first_sample=11, call=3)
    values = rows((1, 15), states, kind).astype(np.float32)
    got = fb.categorical_rows(**{kind: values}, rng=key, backend="reference")
    assert got.dtype == np.int64 and got[0].tolist() == plainly(values[0], kind == "logits", key)


CASES = pairwise(
    kind=("weights", "logits"),
    shape=((1,), (2, 5), (3, 4, 2), (2, 300), (0, 4), (4, 0)),
    states=(1, 2, 256, 257, 700),
    floats=("float64", "float32", "float16", "bfloat16"),
    dtype=("int64", "int32", "int16"),
    layout=("contiguous", "transposed", "sliced"),
    threads=(1, 3),
    key=range(0, len(KEYS), 3),
    backend=BACKENDS,
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())).replace(" ", ""))
def test_every_way_equals_the_reference(case):
    values = torch.from_numpy(rows(case["shape"], case["states"], case["kind"])).to(getattr(torch, case["floats"]))
    if case["kind"] == "weights" and case["states"]:
        values = values * 1024  # within float16
    key = KEYS[case["key"]]
    how = {"rng": key, "dtype": case["dtype"]}
    expected = fb.categorical_rows(**{case["kind"]: values}, **how, backend="reference")
    assert tuple(expected.shape) == case["shape"] and expected.dtype == getattr(torch, case["dtype"])
    laid = values
    if case["layout"] == "transposed":
        laid = values.transpose(0, -1).contiguous().transpose(0, -1)
    elif case["layout"] == "sliced":
        laid = torch.stack([values, values * 0 + 1], -1)[..., 0]
    with using(case["backend"], case["threads"]):
        assert bits(fb.categorical_rows(**{case["kind"]: laid}, **how)) == bits(expected)
        if case["floats"] != "bfloat16":
            assert bits(fb.categorical_rows(**{case["kind"]: laid.numpy()}, **how)) == bits(expected)
    with Traced():
        assert bits(fb.categorical_rows(**{case["kind"]: laid}, **how | {"rng": key.tensor()})) == bits(expected)


def test_parts_and_libraries():
    values, key = rows((6, 9), 50, "weights"), fb.Philox(3)
    whole = fb.categorical_rows(values, rng=key)
    assert (fb.categorical_rows(values[4:], rng=key.at(first_sample=4)) == whole[4:]).all()
    foreign = fb.categorical_rows(DLPackOnly(values, namespace=True), rng=key)
    assert isinstance(foreign, DLPackOnly) and (np.from_dlpack(foreign) == whole).all()
    assert (fb.categorical_rows(values * 2.0**-900, rng=key) == whole).all()  # a power of two changes nothing
    assert (fb.categorical_rows(logits=np.log(np.maximum(values, 1e-300)), rng=key) == whole).mean() > 0.9
    needing = torch.from_numpy(values).requires_grad_()
    assert not fb.categorical_rows(needing, rng=key).requires_grad


@pytest.mark.parametrize("kind", ["weights", "logits"])
def test_draws_follow_the_law(kind, backend):
    """1 test a backend and kind at 1e-6; what has no weight is never drawn."""
    states, count = 300, 10_000
    row = rows((1,), states, kind, seed=5)
    law = np.exp(row[0] - row.max()) if kind == "logits" else row[0]
    law = law / law.sum()
    drawn = fb.categorical_rows(**{kind: np.broadcast_to(row, (4, count // 4, states))}, rng=fb.Philox(6))
    seen = np.bincount(drawn.ravel(), minlength=states)
    assert (seen[law == 0] == 0).all()
    assert chi_square_counts(seen[law > 0], law[law > 0] * count) > FALSE_ALARM


@pytest.mark.parametrize("states", [2, 256, 1000, 50_258])
def test_integers_are_within_the_stated_distance(states):
    row = rows((1,), states, "weights", seed=states)
    q = (row / row.max() * 2.0 ** reference.bits_of(states) + 2.0**52).view(np.int64) - reference.OF_TWO_52
    assert q.sum() <= 2**62 and (q >= 0).all()
    distance = 0.5 * np.abs(q[0] / float(q.sum()) - row[0] / math.fsum(row[0].tolist())).sum()
    assert distance < states * 2.0 ** -(reference.bits_of(states) + 1) + 1e-13  # the sum above is rounded, too


def test_the_last_bit_of_a_weight_decides(backend):
    """Weights (q 2^-52, 1), of the least q that draws state 0 by the bits of a row, and of one less."""
    key = fb.Philox(7)
    for i in range(12):
        u, low, high = uniform(key, i), 0, 2**52
        if u >> 61:
            continue  # more than half: state 1 has the larger weight
        while high - low > 1:
            q = (low + high) // 2
            low, high = (low, q) if u * (q + 2**52) >> 62 < q else (q, high)
        for q, state in ((high, 0), (high - 1, 1)):
            row = np.broadcast_to(np.array([q * 2.0**-52, 1.0]), (1, 12, 2))
            assert fb.categorical_rows(row, rng=key)[0, i] == state
            with Traced():
                assert fb.categorical_rows(torch.from_numpy(row.copy()), rng=key)[0, i] == state


def test_bits_and_a_uniform_of_0(monkeypatch):
    """What has no weight is not drawn by the least uniform either."""
    sizes = {1: 52, 2: 52, 1024: 52, 1025: 51, 50_258: 46, 2**18: 44}
    assert {states: reference.bits_of(states) for states in sizes} == sizes
    row = np.array([[[0.0, 0.0, 2.0, 1.0]]])
    monkeypatch.setattr(reference, "words", lambda shape, key, stream: np.zeros(shape, np.int64))
    monkeypatch.setattr(tensors, "stream_words", lambda shape, *_: torch.zeros(shape, dtype=torch.int64))
    assert fb.categorical_rows(row, backend="reference") == 2
    with Traced():
        assert fb.categorical_rows(torch.from_numpy(row), rng=fb.Philox(0)) == 2


def test_targets_are_whole_parts_of_wide_products():
    random = np.random.default_rng(0)
    high, low = (np.append(random.integers(0, 2**32, 500), [0, 2**32 - 1]) for _ in range(2))
    for total in (1, 2**31 - 1, 2**31, 2**52, 2**62 - 1, 2**62, 12345678901234567):
        expected = [((int(h) << 32 | int(w)) >> 2) * total >> 62 for h, w in zip(high, low, strict=True)]
        assert reference.target(high, low, np.int64(total)).tolist() == expected


def test_words_of_a_vocabulary():
    logits = torch.randn(2, 3, 50_258, generator=torch.Generator().manual_seed(0))
    drawn = fb.categorical_rows(logits=logits, dtype="int32", rng=fb.Philox(1))
    assert (drawn == fb.categorical_rows(logits=logits, dtype="int32", rng=fb.Philox(1), backend="reference")).all()
    most = fb.categorical_rows(np.full((1, 4, 2**18), 3.0), rng=fb.Philox(2))
    assert most.max() < 2**18 and len(np.unique(most)) == 4


ROWS = np.ones((2, 3, 4))


def changed(value, at=(1, 2, 3)):
    values = ROWS.copy()
    values[at] = value
    return values


def test_wrong_rows_of_tensors_give_0_and_are_not_looked_at():
    values = torch.from_numpy(changed(NAN))
    with Traced():
        drawn = fb.categorical_rows(values, rng=fb.Philox(0))
    assert drawn[1, 2] == 0 and (drawn < 4).all()
