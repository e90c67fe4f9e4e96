"""Random123's known answers for Philox4x32-10: counter, key and result of each, as words in hexadecimal."""

import json
from pathlib import Path

PHILOX = json.loads(Path(__file__).with_name("philox_kat.json").read_text())["philox4x32_10"]


def words_of(answer):
    """(counter, key, result), as tuples of integers."""
    return tuple(tuple(int(word, 16) for word in answer[part]) for part in ("counter", "key", "result"))
