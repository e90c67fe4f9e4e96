"""What backend="auto" takes on a GPU, by a rule or by what a card measured, and what `fastblackout info` says of it."""

import ctypes
import json
import re
import sys
import types
from importlib.machinery import ModuleSpec

import pytest
import torch

import fastblackout as fb
from fastblackout.backends import available, select
from fastblackout.cli import command_line as cli
from fastblackout.training import trained_model

MEASURED = {
    "card": "NVIDIA Card",
    "date": "2026-12-01",
    "ops": {
        "thin": {"order": ["cuda", "triton"], "small": ["triton", "cuda"], "below": 5000},
        "poisson": {"order": ["triton", "cuda"]},
    },
}
OPS = fb.capabilities()["reference"]["ops"]
STATIC = "CUDA C++ where it is built, else Triton: a static rule, not measured on a GPU yet"
FASTER = "the faster of both on NVIDIA Card, measured 2026-12-01"


@pytest.fixture
def absent(monkeypatch):
    """Sets the rules, and which backends are absent."""

    def use(measured, **reasons):
        monkeypatch.setattr(select, "ON_CARD", select.rules(measured))
        monkeypatch.setattr(available, "absent", lambda backend, op: reasons.get(backend))

    return use


def info(capsys):
    """The lines on the preferred backends, each of them whole."""
    assert cli.main(["info"]) == 0
    lines = re.sub(r"\n +", " ", capsys.readouterr().out).splitlines()
    end = next(place for place, line in enumerate(lines) if " ops, " in line and line[0].isdigit())
    return [" ".join(line.split()) for line in lines[lines.index('backend="auto" takes') + 1 : end]]


def test_the_committed_file():
    """Empty, or of ops and backends that there are, with a size below which the other is taken."""
    found = json.loads(select.MEASURED.read_text())
    assert select.rules(found) == select.ON_CARD
    assert set(found) in (set(), {"card", "date", "ops"}) and set(found.get("ops", ())) <= set(OPS)
    for rule in select.ON_CARD.values():
        assert set(rule.order) == {"cuda", "triton"}
        assert (rule.below > 0) == (sorted(rule.small) == ["cuda", "triton"])


def test_the_size_decides(absent):
    absent(MEASURED)
    assert [select.select("thin", "auto", "cuda", n) for n in (0, 4999, 5000, 10**9)] == ["triton"] * 2 + ["cuda"] * 2
    assert {select.select("poisson", "auto", "cuda", n) for n in (0, 10**9)} == {"triton"}
    assert {select.select("binomial", "auto", "cuda", n) for n in (0, 10**9)} == {"cuda"}
    absent(MEASURED, triton="not installed")
    assert {select.select("thin", "auto", "cuda", n) for n in (0, 10**9)} == {"cuda"}


def test_info_says_which_and_why(absent, capsys):
    rest = sorted(set(OPS) - set(MEASURED["ops"]))
    cpu = f"cpu cpu all {len(OPS)} kernels: the C++ kernels; the reference only where it is asked for"
    absent({})
    assert info(capsys) == [cpu, f"cuda cuda all {len(OPS)} kernels: {STATIC}"]
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
    assert info(capsys) == [cpu, f"cuda none all {len(OPS)} kernels: {STATIC}"]


@pytest.fixture
def driver(monkeypatch):
    """A build by a CUDA release, on a machine whose driver supports CUDA `supports`; 0: no driver."""
    caches = available.load, available.absent

    def use(release, supports):
        def cu_driver_get_version(version):
            version._obj.value = supports
            return 0

        def library(name):
            assert name == "libcuda.so.1"
            if supports == 0:
                raise OSError("libcuda.so.1: cannot open shared object file")
            return types.SimpleNamespace(cuDriverGetVersion=cu_driver_get_version)

        monkeypatch.setattr(ctypes, "CDLL", library)
        monkeypatch.setattr(available, "_find", lambda folder, name: ModuleSpec(f"fastblackout.{name}", None))
        monkeypatch.setattr(available, "build_facts", lambda: {"cuda_release": release})
        monkeypatch.setitem(sys.modules, "fastblackout._cuda", types.SimpleNamespace(**dict.fromkeys(OPS)))
        for cached in caches:
            cached.cache_clear()

    yield use
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize(
    ("release", "supports", "why"),
    [
        ("13.0", 12080, "built by CUDA 13.0, it needs driver 580 or newer, this one supports CUDA 12.8"),
        ("12.4", 11060, "built by CUDA 12.4, it needs driver 525 or newer, this one supports CUDA 11.6"),
        ("14.1", 13000, "built by CUDA 14.1, it needs a newer driver, this one supports CUDA 13.0"),
        ("13.1", 13000, None),
        ("12.9", 13000, None),
        ("13.0", 0, None),
        (None, 12080, None),
    ],
)
def test_a_driver_too_old_for_the_build_leaves_triton(driver, monkeypatch, release, supports, why):
    monkeypatch.setattr(available, "triton_module", lambda: types.SimpleNamespace(**dict.fromkeys(OPS)))
    driver(release, supports)
    assert {available.absent("cuda", op) for op in OPS} == {why}
    assert {select.select(op, "auto", "cuda") for op in OPS} == {"cuda" if why is None else "triton"}
    if why is not None:
        assert fb.capabilities()["cuda"] == {"available": False, "detail": why, "ops": []}
        with pytest.raises(ValueError, match="^thin: backend: 'cuda' is absent: built by CUDA"):
            select.select("thin", "cuda", "cuda")


@pytest.mark.parametrize(
    ("sees", "missing", "device"),
    [
        (True, {}, "cuda"),
        (True, {"cuda": "was not built"}, "cuda"),
        (True, {"triton": "not installed"}, "cuda"),
        (True, {"cuda": "was not built", "triton": "not installed"}, "cpu"),
        (False, {}, "cpu"),
    ],
)
def test_auto_takes_a_gpu_that_either_backend_runs_on(monkeypatch, sees, missing, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: sees)
    monkeypatch.setattr(trained_model, "absent", lambda backend, op: missing.get(backend))
    assert trained_model.pick_device("auto") == torch.device(device)


def test_an_op_without_a_triton_kernel_is_absent_there(monkeypatch):
    monkeypatch.setattr(available, "triton_module", lambda: types.SimpleNamespace(thin=None))
    available.absent.cache_clear()
    try:
        assert available.absent("triton", "thin") is None
        assert available.absent("triton", "poisson") == "it has no kernel for poisson"
    finally:
        available.absent.cache_clear()
