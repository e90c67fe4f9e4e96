"""Values of every odd kind, for an argument of any op."""

from __future__ import annotations

import datetime
import decimal
import fractions
import warnings
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastblackout as fb
from support.right_calls import RNG


class Nameless:
    def __repr__(self) -> str:
        raise RuntimeError("has none")


def _wrapped() -> Any:
    """A tensor that has left the transform of torch.func it was wrapped for."""
    kept: list[Any] = []
    torch.vmap(lambda row: kept.append(row) or row)(torch.ones(2, 2, 3))
    return kept[0]


PAIR, LONG = torch.tensor([0.25, 0.75]), np.array([0.25, 0.75], np.longdouble)
with FakeTensorMode():
    FAKE = torch.empty(2, dtype=torch.float64)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of prototypes, and of a class that NumPy advises against
    NESTED = torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])
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
