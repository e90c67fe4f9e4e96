"""The phases of benchmarks/gpu without a GPU: a dry run of all of them, and processes that fail, die or hang."""

import contextlib
import json
import os
import subprocess
import sys
import types

import pytest
import torch

from fastblackout.training.execution import Execution
from fastblackout.training.trainer import Trainer
from support import ROOT
from support.subprocesses import elsewhere

FOLDER = ROOT / "benchmarks"
PHASES = ("check", "time", "train", "profile", "jax")


def dry_run(folder, *arguments):
    command = [
        sys.executable,
        "-W",
        "default",
        FOLDER / "gpu",
        "--dry",
        "--ops",
        "poisson",
        "--work",
        folder / "work",
    ]
    environment = elsewhere(CUDA_VISIBLE_DEVICES="", OUT=str(folder / "out"))
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_a_dry_run_of_all_phases_and_one_that_goes_on(tmp_path):
    done = dry_run(tmp_path, *PHASES)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = done.stdout.splitlines()
    phases = [line.split(",")[0] for line in lines if line.startswith("== ")]
    assert phases == ["== check", "== train", "== time", "== check", "== profile", "== jax"]
    for test in ("first", "graph", "ranks", "product", "compiled", "reduce_overhead", "opcheck"):
        assert sum(line.startswith(f"passed test_{test}[poisson-cpu] ") for line in lines) == 1, test
    at = lines.index("Nothing failed.")
    assert f"written to {tmp_path / 'work' / 'dry'}, {tmp_path / 'out' / 'dry'}" in lines[:at]
    assert "cpu poisson 7/7, cases" in lines[at + 1] and lines[-1].startswith("no card, a dry run: ")
    out = tmp_path / "out" / "dry"
    assert sorted(file.name for file in out.iterdir()) == ["results.json", "table.md", "tests.log"]
    assert [file.name for file in (tmp_path / "work").iterdir()] == ["dry"]  # what is carried
    assert (tmp_path / "work-caches" / "inductor").is_dir()
    found = json.loads((out / "results.json").read_text())
    assert {row["by"] for row in found["rows"]} == {"cpu", "torch.poisson"}
    parts = {part["part"]: part for part in found["train"]}
    assert parts.keys() >= {"sample", "digits", "small step: eager", "cifar10 step: compiled graph bf16"}
    assert len(parts) == 16 and parts["sample"]["same_bytes"] and parts["sample"]["images_s_8_steps"] > 0
    assert next(iter(parts)) == "cifar10 step: compiled bf16" and parts["cifar10 step: compiled bf16"]["profile"]
    assert all("error" not in part for part in found["jax"]) and len(found["jax"]) == 10
    eager, bf16 = (parts[f"small step: {way}"] for way in ("eager", "compiled bf16"))
    assert eager["losses"] == pytest.approx(bf16["losses"], rel=0.03) and eager["losses"] != bf16["losses"]
    assert 0 < eager["host_seconds"] <= eager["seconds"] and 0 < eager["share_of_ops"] < 1
    ((profiled,),) = (part["cases"] for part in found["profile"])
    assert profiled["by"] == "cpu" and profiled["kernels"]
    assert "| poisson, rates to 50 | 4x1x8x8 | cpu |" in (out / "table.md").read_text()
    assert set(found["seconds"]) == set(PHASES)

    again = dry_run(tmp_path, *PHASES)  # there is nothing left to do
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert not [
        line for line in again.stdout.splitlines() if line.startswith(("passed ", "poisson, rates", "train: ", "jax: "))
    ]
    later = json.loads((out / "results.json").read_text())
    assert all(later[name] == found[name] for name in ("tests", "rows", "train", "jax"))


TESTS = """
import os, time

def test_right(record_property): record_property("cases", 7)
def test_wrong(): assert 1 == 2
def test_loses_the_device(): raise RuntimeError("thin: CUDA: an illegal memory access was encountered")
def test_after_it(): pass
def test_dies(): os._exit(9)
def test_after_that(): pass
def test_hangs(): time.sleep(600)
def test_never(): pass
"""


@pytest.mark.slow
def test_processes_of_tests_start_again(script, tmp_path, monkeypatch):
    """Every test is told of once, what lost the device or the process too, and what comes after it still runs."""
    tests = script("gpu.tests")
    file = tmp_path / "test_some.py"
    file.write_text(TESTS)
    monkeypatch.setattr(tests, "FILE", file)
    names = [line.split("(")[0].split()[1] for line in TESTS.splitlines() if line.startswith("def ")]
    told = []
    tests.run(names[:-2], 300.0, told.append)
    tests.run(names[-2:], 8.0, told.append)  # of which the process needs some to come to its first test
    found = {result["test"]: result for result in told}
    assert [result["test"] for result in told] == names
    outcomes = [result["outcome"] for result in told]
    assert outcomes[:-1] == ["passed", "failed", "failed", "passed", "failed", "passed", "failed"]
    assert outcomes[-1] != "passed"
    assert found["test_right"]["cases"] == 7 and "assert 1 == 2" in found["test_wrong"]["text"]
    assert "illegal memory access" in found["test_loses_the_device"]["text"]
    assert "it ended with status 9" in found["test_dies"]["text"]
    assert "it did not end in" in found["test_hangs"]["text"]


@pytest.mark.slow
def test_nothing_passes_that_was_not_run(script, tmp_path, monkeypatch):
    """Here the file of the card's tests skips itself, in one line."""
    tests, told = script("gpu.tests"), []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    tests.run(["test_graph[thin-cuda]", "test_product[thin-cuda]"], 60.0, told.append)
    assert [result["outcome"] for result in told] == ["failed"] * 2
    assert all("torch sees no GPU; the SIMT shim" in result["text"] for result in told)


def test_what_has_passed(script):
    tests = script("gpu.tests")
    good = {"test_product[thin-cuda]": {"outcome": "passed", "cases": 3}}
    assert tests.passed(good, "thin", "cuda") and not tests.passed(good, "thin", "triton")
    assert not tests.passed({"test_product[thin-cuda]": {"outcome": "not run"}}, "thin", "cuda")
    assert not tests.passed(good | {"test_graph[thin-cuda]": {"outcome": "failed"}}, "thin", "cuda")
    assert tests.passed(good | {"test_compiled[thin-cuda]": {"outcome": "failed"}}, "thin", "cuda")
    assert tests.passed(good | {"test_graph[thin_log_prob-cuda]": {"outcome": "failed"}}, "thin", "cuda")


TIMES = """
import json, sys
from gpu.children import tell
case, done = "poisson, rates to 50", json.loads(sys.argv[sys.argv.index("--done") + 1])
for by, end in (("a", 0), ("loses", 3), ("dies", 7), ("b", 0)):
    if [case, [2], by] not in done:
        tell(begun=[case, [2], by])
        if end == 7: sys.exit(7)
        wrong = {"error": "CUDA error"} if end else {}
        tell(case=case, op="poisson", shape=[2], by=by, call_seconds=1.0, **wrong)
        if end: sys.exit(end)
tell(case="its ops", op="beta", shape=[2], by=sys.argv[1], call_seconds=1.0)
"""


def test_timings_start_again(script, tmp_path, monkeypatch):
    timing, clock = script("gpu.timing"), script("gpu.clock")
    (tmp_path / "times.py").write_text(TIMES)
    monkeypatch.setattr(timing, "COMMAND", (str(tmp_path / "times.py"),))
    results = script("gpu.results").blank()
    results["tests"] = {"test_product[poisson-cuda]": {"outcome": "passed", "cases": 1}}
    store = types.SimpleNamespace(keep=lambda: None)
    run = types.SimpleNamespace(
        results=results, dry=True, backends=("cuda", "triton"), options=[], more={}, left=lambda: 60.0, store=store
    )
    timing.Timing(run, clock.Clock(("no-such-command",))).ops(["thin", "poisson", "beta"], "plain")
    rows = [row for row in results["rows"] if row["op"] == "poisson"]
    assert [row["by"] for row in rows] == ["triton", "a", "loses", "dies", "b"]
    assert ["error" in row for row in rows] == [True, False, True, True, False]
    assert "it ended with status 7" in rows[3]["error"]
    assert results["rows"][-1]["by"] == "poisson,beta"  # of the last process: what came before is done


def test_parts_go_on_after_one_that_is_lost(script, tmp_path, monkeypatch):
    children, heard, lost = script("gpu.children"), [], []
    code = (
        "import sys, time\nfrom gpu.children import tell\nfor part in sys.argv[1].split(','):\n    tell(begun=part)\n"
    )
    code += "    assert part != 'b', 'b is wrong'\n    if part == 'd': time.sleep(60)\n    tell(part=part)\n"
    (tmp_path / "parts.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    told = lambda part, how: lost.append((part, how))  # noqa: E731
    parts = ["a", "b", "c", "d", "e"]
    children.in_turn("parts", parts, [], lambda part: 2.0 if part == "d" else 60.0, heard.append, told)
    assert heard == [{"part": "a"}, {"part": "c"}, {"part": "e"}]
    assert [part for part, _ in lost] == ["b", "d"] and "AssertionError: b is wrong" in lost[0][1]
    assert lost[1][1].startswith("it did not end in 2 s")


def test_a_call_goes_on_with_what_has_no_result(script, tmp_path, monkeypatch):
    """Those that failed come last; what this call's time cuts off is no failure."""
    phases, asked, left = script("gpu.phases"), [], [60.0]

    def in_turn(module, parts, options, seconds, heard, lost, **more):
        asked.extend(parts)
        heard({"part": "c", "when": [0, 1]})
        lost("d", "it ended with status 1")
        left[0] = 0.5
        lost("b", "it did not end in 9 s")

    monkeypatch.setattr(phases, "in_turn", in_turn)
    run = phases.Run(script("gpu.results").Store(tmp_path / "work", None, False), lambda: left[0])
    run.results["train"] = [{"part": "a"}, {"part": "b", "error": "x"}]
    run._parts("train", "gpu.train", "abcd", lambda: 9.0)
    assert asked == ["c", "d", "b"]
    assert [(part["part"], "error" in part) for part in run.results["train"]] == [("a", 0), ("c", 0), ("d", 1)]
    assert run.results["dropped"] == ["train: b"]


@pytest.mark.slow
def test_steps_are_timed_under_the_settings_of_training(script, monkeypatch):
    """TF32 and cuDNN's search, which `fastblackout train` sets by the same function."""
    train, within, seen, step = script("gpu.train"), [], [], Trainer.train_step

    @contextlib.contextmanager
    def settings(execution):
        within.append(execution)
        yield
        within.pop()

    monkeypatch.setattr(Execution, "settings", settings)
    monkeypatch.setattr(Trainer, "train_step", lambda trainer: seen.append(len(within)) or step(trainer))
    found = train.step(torch.device("cpu"), True, "small", "compiled bf16")
    assert set(seen) == {1} and found["profile"]["kernels"]


def test_what_was_built_is_taken_for_the_same_sources(script, tmp_path, monkeypatch):
    built, root = script("gpu.built"), tmp_path / "clone"
    module = root / "fastblackout" / f"_cpu{built.SUFFIX}"
    for name in ("csrc/cuda/a.cu", "setup.py", "fastblackout/reference/philox.py", "fastblackout/_build.json", module):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("first")
    assert not built.Built(tmp_path / "work", root).take()
    built.Built(tmp_path / "work", root).keep()
    module.unlink()
    assert built.Built(tmp_path / "work", root).take() and module.read_text() == "first"
    (root / "fastblackout" / "other.py").write_text("of no module")
    assert built.Built(tmp_path / "work", root).take()
    (root / "csrc/cuda/a.cu").write_text("second")
    assert not built.Built(tmp_path / "work", root).take()

    for capability in ((9, 0), (12, 0), (9, 0)):  # of one, whatever the card; of another, others
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, pair=capability: pair)
        there = built.Built(tmp_path / "work", root)
        assert there.take() == (tmp_path / "work" / "built" / f"sm_{capability[0]}0").is_dir()
        there.keep()


def test_a_build_that_fails_with_cuda_is_tried_without(script, tmp_path, monkeypatch):
    phases, store = script("gpu.phases"), script("gpu.results").Store(tmp_path / "work", tmp_path / "out", False)
    code = "import os, sys\nif os.environ['FASTBLACKOUT_CUDA'] == '1': sys.exit('thin.cu(3): error: no such thing')"
    monkeypatch.setattr(phases, "BUILD", (sys.executable, "-c", code))
    run = phases.Run(store, lambda: 60.0)
    run.build()
    assert store.results["errors"] == ["build: FASTBLACKOUT_CUDA=1: thin.cu(3): error: no such thing"]
    assert "no such thing" in (tmp_path / "work" / "build.log").read_text()
    monkeypatch.setattr(phases, "BUILD", (sys.executable, "-c", "import time; time.sleep(60)"))
    run.left, run.least = lambda: 1.0, 1.0
    run.build()
    assert store.results["errors"][1:] == [f"build: FASTBLACKOUT_CUDA={c}: it took more than 1 s" for c in (1, 0)]


def test_results_of_another_card_do_not_count(script, tmp_path, capsys, monkeypatch):
    made = script("gpu.results").Store
    machine = {"card": "NVIDIA Card", "sources": "0" * 16, "torch": "2.11.0", "triton": "3.6.0"}
    store = made(tmp_path / "work", tmp_path / "out", False)
    store.on(machine)
    store.results["tests"]["test_graph[thin-cuda]"] = {"outcome": "passed", "text": ""}
    store.keep()
    os.remove(tmp_path / "work" / "results.json")
    for fresh, other, kept in ((False, {}, 1), (False, {"card": "NVIDIA Other"}, 0), (True, {}, 0)):
        store = made(tmp_path / "work", tmp_path / "out", fresh)  # what was copied is read where the first is gone
        store.on(machine | other)
        assert len(store.results["tests"]) == kept
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")
    assert script("gpu.results").folder_of_card() == "NVIDIA-H100-80GB-HBM3"
    assert "earlier results are of NVIDIA Card" in capsys.readouterr().out
