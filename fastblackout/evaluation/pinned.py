"""Files of weights whose SHA-256 the code pins, so that figures made with others cannot pass for comparable ones."""

from __future__ import annotations

import hashlib


def checked(what: str, content: bytes, sha256: str) -> bytes:
    """`content`, when its SHA-256 is that one; a ValueError of both otherwise."""
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(f"evaluate: {what}: SHA-256 must be {sha256}, got {found}")
    return content
