"""Reading one content, and what may come of it."""

from __future__ import annotations

import base64
import tempfile
import warnings
from pathlib import Path

from fuzz.readers import READERS

_MOST_WORDS = 4000  # characters of an error
CORPUS = Path(__file__).parent / "corpus"


class Finding(Exception):
    """What no file may bring about."""


def contents_of(name: str) -> list[bytes]:
    """The contents that a reader's search begins with: right ones, and the lines of its file in corpus/."""
    file = CORPUS / f"{name}.txt"
    kept = file.read_text().split() if file.exists() else []
    return [*READERS[name].seeds(), *map(base64.b64decode, kept)]


def read_once(name: str, content: bytes) -> bool:
    """Whether the reader takes the content. It may refuse it by ValueError or TypeError, in one line.

    Raises `Finding` for all else that happens.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            READERS[name].read(content, Path(folder))
        except (ValueError, TypeError) as error:
            words = str(error)
            if "\n" in words or not 0 < len(words) <= _MOST_WORDS:
                raise Finding(f"an error of {len(words)} characters: {words[:200]!r}") from error
            return False
        except Exception as error:
            raise Finding(f"{type(error).__name__}: {error}") from error
    return True
