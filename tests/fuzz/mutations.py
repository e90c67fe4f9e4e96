"""Contents of files that are wrong in places, made of right ones by a seed."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

_NUMBERS = (0, 1, -1, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 0.5, -0.0, 1e-320, 1e308, 1e400, float("nan"), *_NUMBERS, 10**30,
    "", "a", "é\0\n", "../../etc", "a" * 5000, [], {}, [[]], [1, 2, 3], [None], {"": None}, {"steps": 1},
)  # fmt: skip


def changed_bytes(content: bytes, seed: int) -> bytes:
    """One to eight changes: of bits, bytes, numbers of 1 to 8 bytes, or parts left out, doubled, moved or cut off."""
    dice, changed = random.Random(seed), bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 8))):
        place = dice.randrange(len(changed) + 1)
        if dice.random() < 0.5:  # where most formats say what follows
            place %= 256
        end = min(place + dice.choice((1, 2, 4, 8, 64)), len(changed))
        kind = dice.randrange(7)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << dice.randrange(8)
        elif kind == 1 and place < len(changed):
            changed[place] = dice.randrange(256)
        elif kind == 2:
            size = dice.choice((1, 2, 4, 8))
            number = dice.choice(_NUMBERS) % (1 << 8 * size)
            changed[place : place + size] = number.to_bytes(size, dice.choice(("little", "big")))
        elif kind == 3:
            del changed[place:end]
        elif kind == 4:
            changed[place:place] = changed[place:end] * dice.choice((1, 2, 100))
        elif kind == 5:
            to = dice.randrange(len(changed) + 1)
            changed[to:to] = changed[place:end]
        else:
            del changed[place:]
    return bytes(changed)


def changed_json(content: bytes, seed: int) -> bytes:
    """A JSON text with one to three values replaced, left out or moved; other bytes where it is none."""
    dice = random.Random(seed)
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return changed_bytes(content, seed)
    if dice.random() < 0.05:
        return changed_bytes(content, seed)
    for _ in range(dice.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            break
        parent, key = dice.choice(places)
        kind = dice.randrange(5)
        if kind < 3:
            parent[key] = copy.deepcopy(dice.choice(_VALUES))
        elif kind == 3:
            del parent[key]
        else:
            other, name = dice.choice(places)
            parent[key] = copy.deepcopy(other[name])
    return json.dumps(tree).encode()


def _places(tree: Any) -> Any:
    """Every (dictionary or list, key) within a tree."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key])
