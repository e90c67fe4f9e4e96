"""How much memory a test says is free."""

import io

from fastblackout.ground import values


def machine_with(monkeypatch, free):
    """`check_memory` finds so many bytes of free memory."""
    text = f"MemTotal: 1 kB\nMemAvailable: {free >> 10} kB\n"
    monkeypatch.setattr(values, "open", lambda *given, **how: io.StringIO(text), raising=False)
