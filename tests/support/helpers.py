"""Shared by the tests of the ops: backends, keys, errors, combinations of factors, chi-square."""

from __future__ import annotations

import importlib.util
import itertools
import random
import re
import sys

import numpy as np
import pytest
from scipy import stats

import fastblackout as fb
from fastblackout.backends import available
from support import ROOT

_cpu = available.load("_cpu")
ISAS = list(_cpu.isas())
BACKENDS = ["reference", *(f"cpu-{isa}" for isa in ISAS)]

WORD = 2**32 - 1
_SEEDS = (0, 1, 16, 2**63, 2**64 - 1, 2**32, 2**32 - 1, 12345, 0xDEADBEEFCAFEBABE, 3)
KEYS = [fb.Philox(seed) for seed in _SEEDS] + [
    fb.Philox(seed, first_sample=first_sample, call=call)
    for seed, first_sample, call in zip(
        _SEEDS,
        (1, 7, 2**31, WORD - 100, WORD - 1000, 65535, 0, 64, 2**31 - 1, 1000),
        (WORD, 0, 1, 2**31, WORD - 1, 999, 65536, 2**16 - 1, 7, WORD),
        strict=True,
    )
]


def load_example(name):
    """A script of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # torch 2.11 imports by its name what it traces functions of
    spec.loader.exec_module(module)
    return module


def using(name, threads=None):
    """use_backend for a name of BACKENDS."""
    kind, _, isa = name.partition("-")
    return fb.use_backend(kind, isa=isa or None, threads=threads)


def by_day(values, *quick):
    """Cases of which a run by day takes the quick ones; the others are slow tests."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]


def assert_named(call, error, text, value):
    """`call` raises `error`: function, argument, rule and value, `text` and then `value` among them."""
    with pytest.raises(error, match=f"(?s){re.escape(text)}.*{re.escape(value)}") as raised:
        call()
    assert re.match(r"[A-Za-z_.]+: [\w, ]+: .*, got ", str(raised.value))


def pairwise(seed=0, **factors):
    """Combinations (dicts) in which every pair of values of two factors occurs; greedy, the same every time."""
    draw = random.Random(seed)
    names = list(factors)
    pairs = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(names, 2)
        for i in range(len(factors[a]))
        for j in range(len(factors[b]))
    }
    cases = []
    while pairs:
        first = min(pairs)
        best, covered = None, set()
        for _ in range(30):
            pick = {name: draw.randrange(len(factors[name])) for name in names} | dict(first)
            hits = set(itertools.combinations(pick.items(), 2)) & pairs
            if len(hits) > len(covered):
                best, covered = pick, hits
        pairs -= covered
        cases.append({name: factors[name][i] for name, i in best.items()})
    return cases


def chi_square(drawn, law, low=None, high=None, least=10.0):
    """p value of integers against a scipy law; cells below an expectation of `least` are joined with neighbours."""
    drawn = np.asarray(drawn).ravel().astype(np.int64)
    low = int(law.ppf(1e-9)) if low is None else low
    high = max(int(law.ppf(1 - 1e-9)), low + 1) if high is None else high
    expected = law.pmf(np.arange(low, high + 1)) * drawn.size
    expected[0] += law.cdf(low - 1) * drawn.size
    expected[-1] += law.sf(high) * drawn.size
    return chi_square_counts(np.bincount(np.clip(drawn, low, high) - low, minlength=high - low + 1), expected, least)


def chi_square_counts(seen, expected, least=10.0):
    """p value of the cells' counts; neighbours are joined until the expectation of each is at least about `least`."""
    starts = np.flatnonzero(np.diff(np.floor(np.cumsum(expected) / least), prepend=-1.0))
    expected, seen = np.add.reduceat(expected, starts), np.add.reduceat(seen, starts)
    statistic = float(((seen - expected) ** 2 / expected).sum())
    return float(stats.chi2.sf(statistic, max(len(expected) - 1, 1)))
