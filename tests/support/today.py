"""What is too much for every run: a day has a part of it, another one than the day before, and a night has all."""

import datetime
import os
from collections.abc import Sequence
from typing import Any

NIGHT = os.environ.get("FASTBLACKOUT_PRODUCT", "").startswith("full")  # as .ci/nightly sets it
DAY = datetime.date.today().toordinal()


def of_today(values: Sequence[Any], number: int, whole: bool = NIGHT) -> list[Any]:
    """So many of the values, or the whole of them; at night the whole."""
    return list(values) if whole else [values[(DAY * number + i) % len(values)] for i in range(number)]
