"""What backend="auto" takes on a GPU, by a rule or by what a card measured, and what `fastblackout info` says of it."""

import json
import re

import pytest

from fastblackout import choice, cli, dispatch, natives

MEASURED = {
    "card": "NVIDIA Card", "date": "2026-12-01",
    "ops": {
        "thin": {"order": ["cuda", "triton"], "small": ["triton", "cuda"], "below": 5000},
        "poisson": {"order": ["triton", "cuda"]},
    },
}  # fmt: skip
STATIC = "CUDA C++ before Triton: a static rule, not yet measured on a GPU"
FASTER = "the faster of both on NVIDIA Card, measured 2026-12-01"


@pytest.fixture
def absent(monkeypatch):
    """Sets the rules, and which backends are absent."""

    def use(measured, **reasons):
        monkeypatch.setitem(choice.CHOICE, "cuda", choice.rules(measured))
        monkeypatch.setattr(natives, "absent", lambda backend, op: reasons.get(backend))

    return use


def info(capsys):
    """The lines on the choice, each of them whole."""
    assert cli.main(["info"]) == 0
    lines = re.sub(r"\n +", " ", capsys.readouterr().out).splitlines()
    return [" ".join(line.split()) for line in lines[lines.index('backend="auto" takes') + 1 :]]


def test_the_committed_file():
    """Empty, or of ops and backends that there are, with a size below which the other is taken."""
    found = json.loads(choice.MEASURED.read_text())
    assert choice.CHOICE["cuda"] == choice.rules(found)
    assert set(found) in (set(), {"card", "date", "ops"}) and set(found.get("ops", ())) <= set(choice.OPS)
    for rule in choice.CHOICE["cuda"].values():
        assert set(rule.order) == {"cuda", "triton"}
        assert (rule.below > 0) == (sorted(rule.small) == ["cuda", "triton"])


def test_the_size_decides(absent):
    absent(MEASURED)
    assert [dispatch.choose("thin", "auto", "cuda", n) for n in (0, 4999, 5000, 10**9)] == ["triton"] * 2 + ["cuda"] * 2
    assert {dispatch.choose("poisson", "auto", "cuda", n) for n in (0, 10**9)} == {"triton"}
    assert {dispatch.choose("binomial", "auto", "cuda", n) for n in (0, 10**9)} == {"cuda"}
    absent(MEASURED, triton="not installed")
    assert {dispatch.choose("thin", "auto", "cuda", n) for n in (0, 10**9)} == {"cuda"}


def test_info_says_which_and_why(absent, capsys):
    rest = sorted(set(choice.OPS) - set(MEASURED["ops"]))
    cpu = f"cpu cpu {', '.join(choice.OPS)}: the C++ kernels; the reference only where it is asked for"
    absent({})
    assert info(capsys) == [cpu, f"cuda cuda {', '.join(choice.OPS)}: {STATIC}"]
    absent(MEASURED)
    assert sorted(info(capsys)) == sorted(
        [
            cpu,
            f"cuda cuda {', '.join(rest)}: {STATIC}",
            f"cuda triton poisson: {FASTER}",
            f"cuda triton below 5000 elements, else cuda thin: {FASTER}",
        ]
    )
    absent(MEASURED, cuda="no nvcc")
    assert f"cuda triton poisson, thin: {FASTER}" in info(capsys)
    absent({}, cuda="no nvcc", triton="not installed")
    assert info(capsys) == [cpu, f"cuda none {', '.join(choice.OPS)}: {STATIC}"]
