"""Values of every odd kind, given to every argument of every op: a named error or a right call, and no other end."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from support.odd_values import FAKE, NO_NUMBERS, ODD, WRONG
from support.right_calls import calls


def _ends(call: Any, arguments: dict[str, Any], owner: str, must_fail: bool) -> str | None:
    """What is wrong with how the call ends."""
    try:
        call(**arguments)
    except (TypeError, ValueError) as error:
        text = str(error)
        named = (
            re.match(rf"{re.escape(owner.split(' ')[0])}(\.\w+)?: [^:]+: .+, got ", text)
            and "\n" not in text
            and len(text) < 500
        )
        return None if named else f"an error without names: {text!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error" if must_fail else None


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("name", calls(np.asarray))
def test_every_argument(name: str, library: Any) -> None:
    call, arguments = calls(library)[name]
    deciding = next((each for each, value in arguments.items() if isinstance(value, (np.ndarray, torch.Tensor))), None)
    found = []
    for argument in arguments:
        unseen = argument == "x" and name.endswith("_log_prob")
        for must_fail, values in ((True, WRONG), (not unseen, NO_NUMBERS), (False, ODD)):
            for value in values:
                # A FakeTensor that decides the path is torch's to handle, and so is a device that is not there.
                if (value is FAKE and argument == deciding) or (argument == "device" and not must_fail):
                    continue
                given = {**arguments, argument: value}
                if argument == "generator":
                    given["rng"] = None
                if (wrong := _ends(call, given, name, must_fail)) is not None:
                    found.append((argument, type(value).__name__, wrong))
    assert not found, found
