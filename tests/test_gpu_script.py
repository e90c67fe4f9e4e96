"""benchmarks/gpu.py without a GPU: what it says, and its checks, times and table on the CPU.

The product of test_gpu.py runs elsewhere on csrc/simt and on Triton's interpreter; its other checks are tried here.
"""

import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import gpu_checks
import process_calls
import pytest
import torch
from op_table import OPS

import fastblackout as fb

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture
def script(monkeypatch):
    """Imports a module of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def run(*command, tests=False, **environment):
    package = str(Path(fb.__file__).parents[1]) + (os.pathsep + str(Path(__file__).parent) if tests else "")
    given = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": package, **environment}
    return subprocess.run([sys.executable, *command], env=given, capture_output=True, text=True, timeout=500)


def test_one_line_and_status_1_without_a_gpu(tmp_path):
    done = run(FOLDER / "gpu.py", "--out", tmp_path / "card.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gpu: torch sees no NVIDIA GPU: run this where there is one\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("op", OPS)
def test_replays_and_parts_on_the_cpu(op):
    gpu_checks.check_graph(op, "cpu", CPU, (3, 5))
    gpu_checks.check_ranks(op, "cpu", CPU, (16, 5))
    gpu_checks.check_compiled(op, "cpu", CPU, (3, 5))


def test_samples_on_the_cpu():
    for options in gpu_checks.SAMPLERS:
        gpu_checks.check_sample(options, "cpu", CPU)


@pytest.mark.parametrize("name", process_calls.PROCESSES)
def test_processes_on_the_cpu(name):
    gpu_checks.check_process(name, "cpu", CPU)


@pytest.mark.parametrize("op", ["poisson", "thin", "birth_loss", "transition_rows"])
def test_flags_in_the_interpreter(op):
    pytest.importorskip("triton", reason="the interpreter comes with triton, which is not installed")
    code = "import gpu_checks, torch\n"
    code += f"gpu_checks.check_flags('{op}', 'triton', torch.device('cpu'), (3, 5))"
    done = run("-c", code, TRITON_INTERPRET="1", tests=True)
    assert done.returncode == 0, done.stderr[-2000:]


REPORT = """<testsuites><testsuite name="pytest" tests="4">
<testcase name="test_graph[thin-cuda]" />
<testcase name="test_product[thin-cuda]"><properties><property name="cases" value="31" />
<property name="of" value="163" /></properties></testcase>
<testcase name="test_flags[thin-cuda]"><failure message="AssertionError: flag 8">trace</failure></testcase>
</testsuite></testsuites>"""


def test_what_pytest_reports(script):
    gpu = script("gpu_tests")
    assert gpu.outcome(REPORT) == {
        "done": 33, "of": 165, "failures": ["test_flags[thin-cuda]: AssertionError: flag 8 trace"]
    }  # fmt: skip
    good = {"op": "thin", "backend": "cuda", "done": 3, "of": 3, "failures": []}
    assert gpu.passed([good], "thin", "cuda") and not gpu.passed([good], "thin", "triton")
    assert not gpu.passed([good | {"done": 0}], "thin", "cuda")
    assert not gpu.passed([good | {"failures": ["test_product[thin-cuda]: x"]}], "thin", "cuda")
    assert gpu.passed([good | {"failures": ["test_compiled[thin-cuda]: x"]}], "thin", "cuda")


def test_a_process_of_tests_without_a_gpu(script, monkeypatch):
    """Nothing is passed that was not run: the file skips itself here, in one line."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    report = script("gpu_tests").check("thin", "cuda", 30.0)
    assert report["done"] == 0
    assert len(report["failures"]) == 1 and "torch sees no GPU; the SIMT shim" in report["failures"][0]


def test_the_tests_of_a_card_are_collected(tmp_path):
    (tmp_path / "card.py").write_text("import torch\ntorch.cuda.is_available = lambda: True\n")
    paths = os.pathsep.join([str(Path(fb.__file__).parents[1]), str(tmp_path)])
    tests = Path(__file__).with_name("test_gpu.py")
    done = run("-m", "pytest", "--collect-only", "-q", "-p", "card", "-p", "no:cacheprovider", tests, PYTHONPATH=paths)
    assert done.returncode == 0, done.stdout[-2000:]
    for name in ("test_product[thin-cuda]", "test_graph[poisson-triton]", "test_process[any-cuda]"):
        assert f"test_gpu.py::{name}" in done.stdout


def test_absent_peers_are_named(script, monkeypatch):
    gpu, work = script("gpu"), script("gpu_work")
    asked = []
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: asked.append(name))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert gpu.absent() == ["CuPy is not installed: pip install cupy-cuda12x"] and asked == ["cupy"]
    drawn = types.SimpleNamespace(binomial=lambda n, p: ("b", n.dtype, p), poisson=lambda rate: ("p", rate))
    monkeypatch.setattr(work, "_cupy", lambda: types.SimpleNamespace(random=drawn, from_dlpack=lambda tensor: tensor))
    inputs = {"x": torch.ones(3, dtype=torch.uint8), "p": torch.full((3,), 0.5), "rate": torch.ones(3)}
    kind, dtype, p = work._binomial_peers("p")["CuPy"](inputs)
    assert (kind, dtype) == ("b", torch.int32) and p is inputs["p"]
    assert work._poisson_peers()["CuPy"](inputs) == ("p", inputs["rate"])


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
    results["ceilings"], results["absent"] = {"copy_gigabytes_s": 1.0}, ["CuPy is not installed: pip install X"]
    results["checks"] = [{"op": "poisson", "backend": "cuda", "done": 3, "of": 9, "failures": ["out: 1 wrong"]}]
    text = gpu.markdown(json.loads(json.dumps(results)))
    (line,) = (line for line in text.splitlines() if line.startswith("| poisson") and "| cpu |" in line)
    assert "its checks did not pass" in line and "us" not in line.split("|")[5]
    for wanted in (
        "FAILED: cuda poisson: out: 1 wrong",
        "cuda poisson 2/9",
        "Left out, no time: poisson",
        "CUT OFF",
        "Not timed: CuPy",
        "FlagGems binomial (Triton), NVIDIA H20: 8.8 G/s",
    ):
        assert wanted in text


def test_time_that_is_short_drops_what_matters_least(script):
    times = script("gpu_times")
    made = times.Times(CPU, ["cpu"], lambda op, backend: True, lambda: 1.0)
    made.all(shapes=((4, 1, 8, 8),))
    assert made.rows == [] and len(made.dropped) == len(times.CASES) + sum(c.compiled is not None for c in times.CASES)
