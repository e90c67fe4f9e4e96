"""How far a long computation of P(t) is: a bar on a terminal once it has taken a few seconds, and nothing elsewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

SILENCE = 3.0  # seconds before a bar appears

_bar: ContextVar[Any] = ContextVar("bar of P(t)", default=None)


@contextlib.contextmanager
def watched(what: str) -> Iterator[None]:
    """Within the block the products of matrices that `expect` and `done` tell of are shown on stderr."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not terminal or importlib.util.find_spec("tqdm") is None:  # the lack of a bar is nothing to fail for
        yield
        return
    from tqdm import tqdm

    shape = what + ": {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} products [{elapsed}<{remaining}]"
    with tqdm(total=0, delay=SILENCE, leave=False, file=sys.stderr, dynamic_ncols=True, bar_format=shape) as bar:
        token = _bar.set(bar)
        try:
            yield
        finally:
            _bar.reset(token)


def expect(products: float) -> None:
    """So many more are to come, at most: a process may forget its start before."""
    if (bar := _bar.get()) is not None:
        bar.total += products


def done(products: float = 1.0) -> None:
    if (bar := _bar.get()) is not None:
        bar.update(products)
