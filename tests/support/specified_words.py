"""docs/draw.md as a program, first part: its tables, the generator, and the words of an element.

The modules specified_*.py are written from that page alone and share no code with the package: they use Python's
integers and floats, which are float64, and NumPy's float32. They are slow, and made to be read beside the page.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from support import ROOT

PAGE = (ROOT / "docs/draw.md").read_text()
STREAMS = {name: int(number) for name, number in re.findall(r"`([A-Z0-9_]+)` \| (\d+) \|", PAGE)}
NUMBERS = {
    name: [float(number) for number in row.split(", ")]
    for name, row in re.findall(r"^\| `(\w+)` \| (-?\d[\d.e, -]+) \|$", PAGE, re.MULTILINE)
}


@functools.lru_cache(maxsize=1 << 16)
def philox(c0: int, c1: int, c2: int, c3: int, k0: int, k1: int) -> tuple[int, int, int, int]:
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = second >> 32 ^ c1 ^ k0, second % 2**32, first >> 32 ^ c3 ^ k1, first % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


class Element(NamedTuple):
    """Element i of a sample: what its words are known by."""

    seed: int
    sample: int
    call: int
    i: int

    def block(self, stream: str, c0: int, sub: int = 0) -> tuple[int, int, int, int]:
        c3 = STREAMS[stream] << 24 | sub
        return philox(c0, self.sample, self.call, c3, self.seed % 2**32, self.seed >> 32)

    def own_block(self, stream: str, sub: int = 0) -> tuple[int, int, int, int]:
        return self.block(stream, self.i, sub)

    def word(self, stream: str) -> int:
        return self.block(stream, self.i // 4)[self.i % 4]

    def halves(self, stream: str) -> tuple[int, int]:
        t, j = divmod(self.i, 8)
        words = self.block(stream, 2 * t + j % 2)
        x, y = (words[1], words[3]) if j < 4 else (words[0], words[2])
        return (x >> 16, y >> 16) if j in (2, 3, 6, 7) else (x % 2**16, y % 2**16)

    def bits_48(self, stream: str, refine: str) -> int:
        """A word of one stream, then the last 16 bits of the first word of a block of the other."""
        return self.word(stream) << 16 | self.own_block(refine)[0] % 2**16


def bits_53(h: int, l: int) -> int:  # noqa: E741
    return h << 21 | l >> 11


def zero(h: int, l: int) -> float:  # noqa: E741
    return bits_53(h, l) * 2.0**-53


def one(h: int, l: int) -> float:  # noqa: E741
    return (bits_53(h, l) + 1) * 2.0**-53


def centred(h: int, l: int) -> float:  # noqa: E741
    return ((bits_53(h, l) - 2**52) + 0.5) * 2.0**-53


def elements(shape: tuple[int, ...], key: Any) -> Iterator[tuple[int, int, Element]]:
    """(b, place in C order, words) of every element of an array that is drawn with `key`, a fb.Philox."""
    samples = shape[0] if shape else 1
    size = int(np.prod(shape[1:]))
    for place in range(samples * size):
        b, i = divmod(place, size)
        yield b, place, Element(key.seed, key.first_sample + b, key.call, i)


def drawn(draw: Callable[..., Any], key: Any, *arrays: Any) -> list[Any]:
    """draw(element, a value of each array) of every element of arrays that broadcast, in C order."""
    spread = np.broadcast_arrays(*arrays)
    rows = [each.reshape(-1).tolist() for each in spread]
    return [draw(at, *(row[place] for row in rows)) for _, place, at in elements(spread[0].shape, key)]
