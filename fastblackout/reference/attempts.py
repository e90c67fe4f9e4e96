"""Draws of a law from another one that is at hand, in NumPy: an attempt proposes, and is accepted or not.

The twin of csrc/include/fastblackout/attempts.h. Key of element i, attempt a: the proposal's own trials have the words
of (i, sample, call, stream << 24 | a << 10 | trial); acceptance takes the first 53 bits of the block (i, sample, call,
stream of acceptance << 24 | a).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from . import portfloat as pf
from .binomial import element_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..philox import Philox
    from .dtypes import F64, I64, U32, Bools

    Words = Callable[..., tuple[U32, ...]]

MAX_ATTEMPTS = 64
ATTEMPT_SHIFT = 10


class Law(Protocol):
    """What attempts need of a batch of elements."""

    def propose(self, words: Words) -> I64:
        """A number of each element. words(places among them, trial): the words of a trial."""

    def accepts(self, k: I64, v: F64) -> Bools:
        """Whether the proposals are accepted, by uniforms in (0, 1]."""


def kept(law: Law, keep: NDArray) -> Law:
    """The law of some of its elements: every attribute is an array of all."""
    part = object.__new__(type(law))
    part.__dict__ = {name: value[keep] for name, value in law.__dict__.items()}
    return part


def draw(law: Law, some: I64, shape: tuple[int, int], key: Philox, streams: tuple[int, int]) -> I64:
    """A number for each element of `law`, which are those at the places `some` of a (B, n) array, 0 elsewhere; flat."""
    proposals, acceptance = (element_words(shape, key, stream) for stream in streams)
    out = np.zeros(shape[0] * shape[1], np.int64)
    for attempt in range(MAX_ATTEMPTS):
        if some.size == 0:
            break

        def words(active: I64, trial: int, at: I64 = some, first: int = attempt << ATTEMPT_SHIFT) -> tuple[U32, ...]:
            return proposals(at[active], first | trial)

        out[some] = k = law.propose(words)
        w0, w1, _, _ = acceptance(some, attempt)
        open_ = ~law.accepts(k, pf.uniform_to_one(pf.bits53(w0, w1)))
        law, some = kept(law, open_), some[open_]
    return out
