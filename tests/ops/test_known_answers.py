"""Draws keep their bits: hashes of fixed cases, which no later version may change without a new stream version."""

import pytest

import fastblackout as fb
from support import known_cases
from support.specified_words import PAGE

KNOWN = known_cases.read()


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
