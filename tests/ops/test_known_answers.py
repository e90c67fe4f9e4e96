"""Draws keep their bits: hashes of fixed cases, which no later version may change without a new stream version.

docs/draw.md, which specifies the draws, has the streams and the coefficients of the reference.
"""

import re

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.reference import gamma, normal, portfloat
from fastblackout.reference.philox import Stream
from support import ROOT, known_cases

KNOWN = known_cases.read()
PAGE = (ROOT / "docs/draw.md").read_text()
SINGLE = {"exp32": portfloat._EXP_FLOAT, "log1p32": portfloat._LOG1P_OVER}
DOUBLE = {
    "log": portfloat._LOG, "exp": portfloat.EXP, "stirling": portfloat.STIRLING, "deviance": portfloat.DEVIANCE,
    "stirling_table": portfloat._STIRLING_TABLE,
}  # fmt: skip
PAIRS = normal._CENTRE, normal._NEAR, normal._FAR
DOUBLE |= {f"normal_{name}": row for name, row in zip("abcdef", [row for pair in PAIRS for row in pair], strict=True)}


@pytest.mark.parametrize("case", known_cases.CASES)
def test_a_case_draws_what_it_always_has(backend, case):
    assert known_cases.hash_of(known_cases.CASES[case]()) == KNOWN["sha256"][case], f"{case}, {backend}"


def test_every_hash_has_its_case():
    assert KNOWN["sha256"].keys() == known_cases.CASES.keys()


def test_the_version_is_one_everywhere():
    assert KNOWN["stream_version"] == fb.STREAM_VERSION
    assert f"stream version {fb.STREAM_VERSION}." in PAGE and f"stream version {fb.STREAM_VERSION}." in KNOWN["about"]


def test_a_hash_that_is_there_is_never_changed(monkeypatch, tmp_path):
    cases = {name: known_cases.CASES[name] for name in ("poisson", "normal")}
    monkeypatch.setattr(known_cases, "FILE", tmp_path / "known.json")
    monkeypatch.setattr(known_cases, "CASES", cases)
    known_cases.FILE.write_text('{"sha256": {"poisson": "as it was"}}')
    assert known_cases.add_missing() == ["normal"]
    assert known_cases.read()["sha256"] == {"poisson": "as it was", "normal": KNOWN["sha256"]["normal"]}
    assert known_cases.add_missing() == []


def test_the_page_has_every_stream_and_coefficient():
    streams = {name: int(number) for name, number in re.findall(r"`([A-Z0-9_]+)` \| (\d+) \|", PAGE)}
    assert {stream.name: int(stream) for stream in Stream} == streams
    rows = re.findall(r"^\| `(\w+)` \| (-?\d[\d.e, -]+) \|$", PAGE, re.MULTILINE)
    numbers = {name: [float(number) for number in row.split(", ")] for name, row in rows}
    assert numbers.keys() == SINGLE.keys() | DOUBLE.keys()
    for name, row in numbers.items():
        dtype = "float32" if name in SINGLE else "float64"
        np.testing.assert_array_equal(np.array(row, dtype), np.array((SINGLE | DOUBLE)[name], dtype), err_msg=name)
    np.testing.assert_array_equal(gamma._SERIES, [(-1) ** n / (n + 4) for n in range(12, -1, -1)])
