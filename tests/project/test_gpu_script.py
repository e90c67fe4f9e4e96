"""benchmarks/gpu without a GPU: what it says, and its checks, times and table on the CPU.

The product of test_gpu.py runs elsewhere on csrc/simt and on Triton's interpreter; its other checks are tried here.
"""

import itertools
import json
import os
import subprocess
import sys

import pytest
import torch

from fastblackout.backends import select
from support import ROOT, gpu_checks, gpu_torch_checks, process_calls
from support.op_table import OPS
from support.subprocesses import BOTH, elsewhere
from support.today import of_today

FOLDER = ROOT / "benchmarks"
CPU = torch.device("cpu")


def run(folder, *command, **environment):
    given = elsewhere(CUDA_VISIBLE_DEVICES="", **environment)
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=given, capture_output=True, text=True, timeout=500
    )


@pytest.mark.slow
def test_one_line_and_status_1_without_a_gpu(tmp_path):
    done = run(tmp_path, FOLDER / "gpu", "--out", tmp_path / "out", "--work", tmp_path / "work")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gpu: torch sees no NVIDIA GPU: run this where there is one\n"
    assert not list(tmp_path.iterdir())
    done = run(tmp_path, FOLDER / "gpu", "check", "tme")
    assert (
        done.returncode == 2
        and "phases: must be some of build, check, train, time, profile, jax, got tme" in done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
def test_replays_and_parts_on_the_cpu(op):
    gpu_checks.check_first(op, "cpu", CPU, (3, 5))
    gpu_checks.check_graph(op, "cpu", CPU, (3, 5))
    gpu_checks.check_ranks(op, "cpu", CPU, (16, 5))
    gpu_torch_checks.check_compiled(op, "cpu", CPU, (3, 5))
    gpu_torch_checks.check_opcheck(op, "cpu", CPU, (3, 5))


def test_samples_on_the_cpu():
    for options in gpu_checks.SAMPLERS:
        gpu_checks.check_sample(options, "cpu", CPU)


@pytest.mark.parametrize("name", process_calls.PROCESSES)
def test_processes_on_the_cpu(name):
    gpu_checks.check_process(name, "cpu", CPU)


def test_tokens_on_the_cpu():
    gpu_checks.check_tokens(CPU)


@pytest.mark.slow
@pytest.mark.parametrize("op", of_today(tuple(OPS), 4))
def test_flags_in_the_interpreter(op, tmp_path):
    pytest.importorskip("triton", reason="the interpreter comes with triton, which is not installed")
    code = "import torch\nfrom support import gpu_checks\n"
    code += f"gpu_checks.check_flags('{op}', 'triton', torch.device('cpu'), (2, 3, 17))"
    done = run(tmp_path, "-c", code, TRITON_INTERPRET="1", PYTHONPATH=BOTH)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_the_tests_of_a_card_are_collected(tmp_path):
    (tmp_path / "card.py").write_text("import torch\ntorch.cuda.is_available = lambda: True\n")
    paths = os.pathsep.join([elsewhere()["PYTHONPATH"], str(tmp_path)])
    tests = ROOT / "tests/backends/test_gpu.py"
    done = run(
        tmp_path,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "card",
        "-p",
        "no:cacheprovider",
        tests,
        PYTHONPATH=paths,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    for name in ("test_product[thin-cuda]", "test_graph[poisson-triton]", "test_process[any-cuda]"):
        assert f"test_gpu.py::{name}" in done.stdout


def row(case, by, seconds, elements=1 << 26, **more):
    made = {"case": case, "op": case.split(",")[0], "shape": [elements], "elements": elements, "by": by, "bytes": 1}
    return made | {"call_seconds": seconds, "graph_seconds": None} | more


@pytest.fixture
def measured():
    """Results of a card that issues 10^13 instructions and copies 2 * 10^12 bytes a second."""
    made = {"machine": {"max_clock": "781.25 MHz", "multiprocessors": 100, "card": "NVIDIA Card"}, "date": "2026-12-01"}
    counts = {"thin_shared": 40.0, "bridge_shared": 100.0, "loss_kernel": 20.0, "loss_grad": 90.0}
    return made | {"ceilings": {"copy_gigabytes_s": 2000.0}, "instructions": counts, "rows": []}


def test_parts_of_the_ceiling(script, measured):
    aims = script("gpu.aims")
    size = 1 << 26
    # By issue 4 ps and 10 ps; loss by memory 2.5 ps, its gradient by issue 9 ps.
    for case, least in (("thin, x_t", 4e-12), ("bridge, float32", 1e-11), ("birth_loss + gradient", 1.15e-11)):
        assert aims.of_ceiling(row(case, "cuda", 2 * size * least), measured) == pytest.approx(0.5)
    thin = row("thin, x_t", "cuda", 1.0)
    for missing in (
        row("thin, x_t", "triton", 1.0),
        row("poisson, rates to 50", "cuda", 1.0),
        thin | {"error": "x"},
    ):
        assert aims.of_ceiling(missing, measured) is None
    for part in ({"ceilings": {}}, {"instructions": {"error": "no triton"}}, {"instructions": {}}):
        assert aims.of_ceiling(thin, measured | part) is None
    unknown = measured | {"machine": measured["machine"] | {"max_clock": ""}}
    assert aims.of_ceiling(thin, unknown) is None
    unknown["ceilings"] = measured["ceilings"] | {"issue_giga_s": 5e3}
    assert aims.of_ceiling(thin, unknown) == pytest.approx(2 * aims.of_ceiling(thin, measured))


def test_aims_have_verdicts(script, measured):
    aims, size = script("gpu.aims"), 1 << 26
    assert [found[2:] for found in aims.aims(measured)] == [("not measured", "")] * 5
    binomial = "binomial, counts to 255"
    measured["rows"] = [
        row("thin, x_t", "cuda", size / 2e11),
        row("thin, x_t", "cuda", 1e-9, elements=7),
        row(binomial, "triton", size / 9e9),
        row(binomial, "torch.binomial", size / 8e9),
        row("bridge, float32", "cuda", 1e-11 * size / 0.81),
        row("birth_loss + gradient", "cuda", 1.15e-11 * size / 0.79),
    ]
    found = aims.aims(measured)
    assert [x[2] for x in found] == ["200 G/s", "1.125x", "9 G/s", "81%", "79%"]
    assert [x[3] for x in found] == ["met", "met", "met", "met", "NOT met"]
    assert "NVIDIA H20" in found[2][1]
    measured["rows"][2]["call_seconds"] *= 2
    assert [x[3] for x in aims.aims(measured)][1:3] == ["NOT met"] * 2


def test_crossings_become_the_preference(script, measured):
    aims = script("gpu.aims")
    measured["rows"] = [
        row(op, by, start + elements * each, elements)
        for op, *both in (("thin", 3e-6, 1e-12, 1e-6, 3e-12), ("poisson", 9e-6, 5e-12, 1e-6, 1e-12))
        for by, start, each in (("cuda", *both[:2]), ("triton", *both[2:]))
        for elements in (1000, 10**7)
    ] + [row("binomial", "cuda", 1.0), row("thin", "torch.binomial", 1.0), row("birth_loss", "triton", 1.0, error="x")]
    found = aims.preference(measured)
    assert found == {
        "card": "NVIDIA Card",
        "date": "2026-12-01",
        "ops": {
            "thin": {"order": ["cuda", "triton"], "small": ["triton", "cuda"], "below": pytest.approx(1e6, abs=2)},
            "poisson": {"order": ["triton", "cuda"]},
        },
    }
    rules = select.rules(json.loads(json.dumps(found)))
    assert (rules["thin"].tried(10**5)[0], rules["thin"].tried(10**7)[0]) == ("triton", "cuda")
    assert aims.preference(measured | {"rows": []}) == {}


@pytest.fixture
def results(script):
    """Of a card whose poisson is wrong on one backend."""
    made = script("gpu.results").blank()
    made["machine"] = {"card": "NVIDIA Card", "capability": "sm_90", "driver": "580.1", "sources": "0123456789abcdef"}
    made["tests"] = {
        "test_product[poisson-cuda]": {"outcome": "failed", "text": "out: 1 wrong", "cases": 3, "of": 9},
        "test_graph[poisson-cuda]": {"outcome": "passed", "text": ""},
        "test_stream[poisson-cuda]": {"outcome": "not run", "text": "the time was over"},
        "test_sample[{}-triton]": {"outcome": "skipped", "text": ""},
    }
    made["ceilings"] = {"copy_gigabytes_s": 1.0}
    return made


def test_every_case_is_timed_and_shown(script, results):
    times, report, told = script("gpu.times"), script("gpu.report"), []

    def tell(**facts):
        told.append(facts)

    made = times.Times(CPU, ["cpu"], lambda: 1000.0, tell, [["poisson, rates to 50", [4, 1, 8, 8], "cpu"]], quick=True)
    for case in times.CASES:
        made.case(case, (4, 1, 8, 8), "plain")
    rows = [facts for facts in told if "case" in facts]
    by = {(row["case"], row["by"]): row for row in rows}
    assert {case.name for case in times.CASES} == {case for case, _ in by}
    assert ("poisson, rates to 50", "cpu") not in by  # there was one
    assert not [row for row in rows if "error" in row]
    assert [f["begun"][0] for f in told if "begun" in f] == [row["case"] for row in rows]
    assert by["thin, x_t", "cpu"]["bytes"] == 2 * 4 * 64 + 4 * 2 * (8 + 4)
    assert by["bridge, float32", "eager torch"]["call_seconds"] > 0
    wrong = {"case": "poisson", "op": "poisson", "shape": [], "elements": 0, "by": "cuda", "error": "its checks did"}
    results |= {"rows": [{**rows[0], "clock": {"sm_mhz": 1755.0}}, *rows[1:], wrong], "dropped": ["categorical: all"]}
    results["absent"] = ["CuPy is not installed: pip install X"]
    text = report.markdown(json.loads(json.dumps(results)))
    for wanted in (
        "FAILED: test_product[poisson-cuda]: out: 1 wrong",
        "cuda poisson 1/3, cases 3/9, 1 not run",
        "| poisson |  | cuda | its checks did |",
        "Left out, no time: categorical: all",
        "Not timed: CuPy",
        "| 1755 |",
        "| bridge, float32 | at least 80% of the lower of the ceilings | not measured |",
    ):
        assert wanted in text, wanted
    assert script("report.tables")._gpu(results) == text  # of `fastblackout bench report`


def test_the_summary_is_short_and_begins_with_what_failed(script, results):
    report, tests = script("gpu.report"), script("gpu.tests")
    short = report.summary(results).splitlines()
    assert short[0] == "FAILED: test_product[poisson-cuda]: out: 1 wrong" and short[-1].startswith("NVIDIA Card: ")
    assert sum(line.startswith("aim: ") for line in short) == 5
    for name in itertools.chain(*tests.asked(OPS, tests.BACKENDS, (*tests.BITS, *tests.REST))):
        results["tests"][name] = {"outcome": "failed", "text": "x" * 5000, "cases": 10, "of": 1000}
    results["train"] = [{"part": "sample", "same_bytes": False}, {"part": "digits", "error": "it ended with status 1"}]
    results |= {"errors": ["build: no nvcc"], "cut_off": True}
    assert "FAILED: sample: same_bytes is False" in report.failures(results)
    text = report.summary(results)
    assert text.startswith("FAILED: build: no nvcc\n") and "more, in tests.log" in text and "CUT OFF" in text
    assert len(text) < 9000  # what comes of a long run may be its last 12,000 characters
    assert not report.failures(script("gpu.results").blank())


def test_failures_of_one_kind_hide_no_others(script, results):
    """21 tests of the same kind, whose names come before that of the one that decides, and which run after it."""
    report, tests = script("gpu.report"), script("gpu.tests")
    names = list(itertools.chain(*tests.asked(OPS, ["cuda"], ["first"])))
    results["tests"] |= {name: {"outcome": "failed", "text": "x"} for name in names}
    lines = report.summary(results).splitlines()
    assert (
        lines[0].startswith("FAILED: test_product[poisson-cuda]")
        and lines[4] == f"FAILED: {len(OPS) - 3} more of test_first"
    )
    assert not any("test_first" in test for test in itertools.chain(*tests.asked(OPS, ["triton"], tests.REST)))
    assert "first" not in tests.BITS and set(tests.DECISIVE) <= set(tests.BITS)


def test_time_that_is_short_drops_what_matters_least(script):
    times, told = script("gpu.times"), []
    made = times.Times(CPU, ["cpu"], lambda: 1.0, lambda **facts: told.append(facts))
    for case in times.CASES:
        made.case(case, (4, 1, 8, 8), "plain")
        made.case(case, (4, 1, 8, 8), "compiled")
    assert len(told) == len(times.CASES) + sum(c.compiled is not None for c in times.CASES)
    assert all(set(facts) == {"dropped"} for facts in told)
