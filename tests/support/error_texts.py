"""Files of the texts of errors, so that a change of words is seen: tests compare them, and make them when asked to."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

REWRITE = "FASTBLACKOUT_REWRITE_TEXTS"
OF_RANDOM = ", or uint64 (2,) as torch.func._random makes them"  # where something has imported that module of torch
FORM = re.compile(r"(Type|Value)Error: [\w.]+: [^:]+: .+, got ")


def compare(path: Path, text: str) -> None:
    """The file must hold the text. With FASTBLACKOUT_REWRITE_TEXTS=1 it is made to."""
    text = text.replace(OF_RANDOM, "")
    if os.environ.get(REWRITE):
        path.write_text(text)
    old, new = path.read_text().splitlines(), text.splitlines()
    gone, come = ([line for line in some if line not in others] for some, others in ((old, new), (new, old)))
    assert old == new, "\n".join(
        [
            f"{path.name} is made anew by {REWRITE}=1 pytest",
            *(f"- {line}" for line in gone),
            *(f"+ {line}" for line in come),
        ]
    )


def error_of(call: Callable[[], Any]) -> str:
    """The error that a call raises: type, function, argument, rule and value, in one line."""
    try:
        call()
    except (TypeError, ValueError) as error:
        text = f"{type(error).__name__}: {error}"
        assert FORM.match(text) and "\n" not in text, text
        return text
    return "no error"


def shortened(text: str) -> str:
    """Without digits that another machine may round otherwise."""
    return re.sub(r"(\d\.\d{6})\d+", r"\1", text)


def told(text: str, names: dict[str, Any]) -> str:
    """Python expressions, lines of `text`, each with the error that it raises in the line below it."""
    lines = text.splitlines()
    texts = {
        line: shortened(error_of(lambda line=line: eval(line, dict(names)))) for line in lines if line[:1] not in " #"
    }
    assert "no error" not in texts.values(), [line for line, text in texts.items() if text == "no error"]
    made = [f"{line}\n    {texts[line]}" if line in texts else line for line in lines if not line.startswith(" ")]
    return "\n".join(made) + "\n"


def compare_expressions(path: Path, names: dict[str, Any]) -> None:
    compare(path, told(path.read_text(), names))
