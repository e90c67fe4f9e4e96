"""benchmarks/gpu.py without a GPU: what it says, and its checks, times and table on the CPU.

The checks run against the CUDA kernels on csrc/simt and Triton's interpreter, and must notice kernels that are wrong.
"""

import functools
import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
CPU = torch.device("cpu")
KERNELS = (
    "thin", "bridge", "tau_leap", "birth_loss", "birth_loss_grad", "binomial", "poisson", "categorical",
    "categorical_table", "build_categorical_table", "categorical_bridge", "transition_rows", "log_prob",
)  # fmt: skip
STATES = ["categorical", "categorical_bridge", "transition_rows", "thin_log_prob", "bridge_log_prob"]
OPS = ["thin", "bridge_step", "tau_leap_step", "birth_loss", "binomial", "poisson", *STATES]


@pytest.fixture
def script(monkeypatch):
    """Imports a module of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def kernels():
    _simt = pytest.importorskip("fastblackout._simt", reason="FASTBLACKOUT_SIMT=1 pip install builds it")
    _simt.configure("forward", 0, 1)
    return types.SimpleNamespace(**{n: functools.partial(getattr(cuda, n), module=_simt) for n in KERNELS})


def run(*command, **environment):
    package = str(Path(fb.__file__).parents[1])
    given = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": package, **environment}
    return subprocess.run([sys.executable, *command], env=given, capture_output=True, text=True, timeout=120)


def test_one_line_and_status_1_without_a_gpu(tmp_path):
    done = run(FOLDER / "gpu.py", "--out", tmp_path / "card.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gpu: torch sees no NVIDIA GPU: run this where there is one\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("op", OPS)
def test_cases_on_the_cuda_kernels(script, kernels, op):
    checks = script("gpu_checks")
    cases = script("gpu_cases").cases(op)
    assert {(c["shape"], c["seed"]) for c in cases} >= {((3, 31), 2**64 - 1), ((2, 3, 257, 129), 2**63)}
    for number, case in enumerate(
        cases[:: 4 if op in STATES else 2]
    ):  # test_simt.py has them all; here the script's own code is at stake
        checks.check_case(kernels, CPU, op, case, number)


@pytest.mark.parametrize("wrong", ["a bit", "outside", "the flag", "nothing"])
def test_a_wrong_kernel_is_noticed(script, kernels, wrong):
    checks, right = script("gpu_checks"), kernels.poisson

    def poisson(rate, key, out, flag):
        if wrong != "nothing":
            right(rate, key, out, flag)
        if wrong == "a bit":
            out[-1, -1] ^= 1
        elif wrong == "outside":
            out.as_strided((1,), (1,), out.storage_offset() + out.numel()).fill_(3)
        elif wrong == "the flag":
            flag += 8

    kernels.poisson = poisson
    case = script("gpu_cases").PLAIN | {"shape": (3, 7)}
    text = {"a bit": "out: 1 wrong, 20", "outside": "bytes outside", "the flag": "flag 8", "nothing": "out: 21 wrong"}
    with pytest.raises(AssertionError, match=text[wrong]):
        checks.check_case(kernels, CPU, "poisson", case, 0)


@pytest.mark.parametrize("op", OPS)
def test_replays_and_parts_on_the_cpu(script, op):
    checks = script("gpu_checks")
    checks.check_graph(op, "cpu", CPU, (3, 5))
    checks.check_ranks(op, "cpu", CPU, (3, 5))


def test_samples_on_the_cpu(script):
    checks = script("gpu_checks")
    for options in checks.SAMPLERS:
        checks.check_sample(options, "cpu", CPU)


def test_a_process_of_checks(script):
    pytest.importorskip("triton", reason="the interpreter comes with triton, which is not installed")
    done = run(FOLDER / "gpu_checks.py", "poisson", "triton", "--device", "cpu", "--seconds", "1", TRITON_INTERPRET="1")
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == [] and report["done"] >= 2
    assert not script("gpu").passed([report | {"done": 0}], "poisson", "triton")


def test_times_and_table(script):
    gpu, times = script("gpu"), script("gpu_times")
    made = times.Times(CPU, ["cpu"], lambda op, backend: op != "poisson", lambda: 1000.0)
    made.cache, times_clock = 0, times.clock
    times.clock = lambda call, device: times_clock(call, device, least=0.0, budget=0.0)
    try:
        made.all(shapes=((4, 1, 8, 8),), compiled=False)
    finally:
        times.clock = times_clock
    by = {(row["case"], row["by"]): row for row in made.rows}
    assert {case.name for case in times.CASES} == {case for case, _ in by}
    assert {(row["op"], row["by"]) for row in made.rows if "error" in row} == {("poisson", "cpu")}
    assert by["thin, x_t", "cpu"]["bytes"] == 2 * 4 * 64 + 4 * 2 * (8 + 4)
    assert by["bridge, float32", "eager torch"]["call_seconds"] > 0
    results = gpu.blank(9.0) | {"rows": made.rows, "dropped": ["poisson"], "cut_off": True}
    results["machine"] = dict.fromkeys(
        ("card", "capability", "multiprocessors", "driver", "torch", "triton", "nvcc"), "?"
    )
    results["ceilings"] = {"copy_gigabytes_s": 1.0}
    results["checks"] = [{"op": "poisson", "backend": "cuda", "done": 3, "of": 9, "failures": ["out: 1 wrong"]}]
    text = gpu.markdown(json.loads(json.dumps(results)))
    (line,) = (line for line in text.splitlines() if line.startswith("| poisson") and "| cpu |" in line)
    assert "its checks did not pass" in line and "us" not in line.split("|")[5]
    for wanted in ("FAILED: cuda poisson: out: 1 wrong", "cuda poisson 2/9", "Left out, no time: poisson", "CUT OFF"):
        assert wanted in text


def test_time_that_is_short_drops_what_matters_least(script):
    times = script("gpu_times")
    made = times.Times(CPU, ["cpu"], lambda op, backend: True, lambda: 1.0)
    made.all(shapes=((4, 1, 8, 8),))
    assert made.rows == [] and len(made.dropped) == len(times.CASES) + sum(c.compiled is not None for c in times.CASES)
