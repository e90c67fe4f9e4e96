"""Numbers that Python, C++ and Triton each have to write down are the same in all three.

Coefficients of functions are not here: tests of equal bits tell where one differs.
"""

import re

import pytest

from fastblackout.arrays import DTYPES
from fastblackout.backends.cuda import ALONE
from fastblackout.call.arguments import MAX_DRAWS
from fastblackout.call.head import FAMILIES, MOST_HEAD
from fastblackout.probability import SUM_TOLERANCE
from fastblackout.processes.inputs import MAX_STATES as PROCESS_STATES
from fastblackout.reference.birth_loss import CHUNK
from fastblackout.reference.categorical import TOLERANCE
from fastblackout.reference.transition import MAX_STATES
from support import ROOT

HEADERS = "csrc/include/fastblackout"
ROWS = TOLERANCE["float64"], TOLERANCE["float32"]
# (file, what is read there): what Python says
TWINS = {
    (f"{HEADERS}/probability.h", r"kSumTolerance = (\S+);"): [SUM_TOLERANCE],
    ("kernels/checks.py", r"SUM_TOLERANCE = tl.constexpr\((\S+)\)"): [SUM_TOLERANCE],
    (f"{HEADERS}/categorical.h", r"kRowTolerance = (\S+), kSingleRowTolerance = (\S+);"): ROWS,
    ("kernels/weights.py", r"ROW_TOLERANCE = tl.constexpr\((\S+)\), tl.constexpr\((\S+)\)"): ROWS,
    (f"{HEADERS}/birth_loss.h", r"kLossChunk = (\d+);"): [CHUNK],
    ("kernels/birth_loss.py", r"\nCHUNK = (\d+)\n"): [CHUNK],
    (f"{HEADERS}/energy_loss.h", r"kMostDraws = (\d+);"): [MAX_DRAWS],
    (f"{HEADERS}/ops.h", r"kMostHead = (\d+);"): [MOST_HEAD],
    (f"{HEADERS}/transition.h", r"kMaxTransitionStates = (\d+);"): [MAX_STATES],
    ("csrc/cpu/power_series.cpp", r"kMost = (\d+);"): [PROCESS_STATES],
    ("csrc/cuda/ops.h", r"BirthLoss<Backend>, (\d+)>.*?PosteriorLoss<Backend>, (\d+)>"): [*ALONE.values()],
}
CODES = {"uint": "u", "int": "i", "bfloat": "bf", "float": "f"}


@pytest.mark.parametrize(("file", "pattern"), TWINS)
def test_numbers_are_the_same_everywhere(file, pattern):
    found = re.findall(pattern, (ROOT / file).read_text(), re.DOTALL)
    assert [float(number) for each in found for number in ([each] if isinstance(each, str) else each)] == list(
        TWINS[file, pattern]
    )


def test_laws_and_dtypes_have_the_same_places():
    (laws,) = re.findall(r"enum class Family : int64_t \{(.*?)\}", (ROOT / f"{HEADERS}/posterior_loss.h").read_text())
    assert laws.strip() == ", ".join(f"{name.replace('-', '_')} = {at}" for at, name in enumerate(FAMILIES))
    (codes,) = re.findall(
        r"enum class Dtype : int \{ other = -1, (.*?)\}", (ROOT / "csrc/bindings/array.h").read_text()
    )
    short = [re.sub("[a-z]+", lambda kind: CODES[kind[0]], name) for name in DTYPES]
    assert codes.split(", ")[: len(DTYPES)] == short
