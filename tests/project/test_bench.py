"""What the benchmarks promise, without timing anything: a failed check leaves no time, tables and pictures follow from
the results file, and the command reports errors in one line."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from support import ROOT
from support.subprocesses import elsewhere


class Rounds:
    """pytest-benchmark's fixture, without it."""

    def __init__(self):
        self.extra_info = {}

    def pedantic(self, function, args, setup, rounds):
        self.rounds = rounds
        for _ in range(rounds):
            setup()
            function(*args)


@pytest.fixture
def clock(script, monkeypatch):
    """A clock that only calls move, each by the seconds it is made with."""
    harness, now = script("cases.harness"), [0.0]
    monkeypatch.setattr(harness.time, "process_time", lambda: now[0])
    monkeypatch.setattr(harness, "settle_allocator", lambda: True)  # the tests' own memory stays as it is

    def call(seconds):
        def run(_):
            now[0] += seconds

        return run

    return call


def row(case="thin, x_t", peer="torch.binomial", ours=1e-3, theirs=0.1, isa="avx512", threads=1, elements=1000):
    times = {"ours_seconds": ours, "peer_seconds": theirs, "ratio": theirs / ours}
    spread = {"ratio_low": 0.9 * theirs / ours, "ratio_high": 1.1 * theirs / ours}
    where = {"op": "thin", "case": case, "isa": isa, "threads": threads, "elements": elements, "rounds": 5}
    return where | {"peer": peer} | times | spread


def results(*rows, **more):
    made = {"date": "2026-01-02", "quick": False, "rounds": 11, "window_seconds": 0.04, "settled_allocator": True}
    made |= {"machine": {"cpu": "A CPU", "cores": 2, "isa": "avx512", "system": "Linux", "load": [0, 0]}}
    return made | {"versions": {"torch": "2.15"}, "absent": {"numba": "pip install"}, "rows": list(rows), **more}


def test_no_time_after_a_failed_check(script, clock):
    bench = script("cases.harness").Harness()
    called = []

    def check():
        raise AssertionError("wrong")

    with pytest.raises(AssertionError, match="wrong"):
        bench.measure(Rounds(), "case", 1, called.append, {"peer": called.append}, check)
    assert not bench.rows
    assert not called


def test_rows_hold_medians_ratios_and_shares(script, clock):
    bench = script("cases.harness").Harness()
    others = {"slower": clock(0.03), "four times the work": clock(0.08)}
    bench.measure(Rounds(), "case", 10, clock(0.01), others, lambda: None, shares={"four times the work": 4}, op="thin")
    slower, shared = bench.rows
    assert slower["ratio"] == pytest.approx(3)
    assert (slower["op"], slower["case"], slower["rounds"]) == ("thin", "case", 31)
    assert shared["peer_seconds"] == pytest.approx(0.02)
    assert shared["ratio"] == pytest.approx(2)


@pytest.mark.parametrize(("quick", "rounds"), [(False, 5), (True, 2)])
def test_long_calls_have_fewer_rounds_and_short_ones_are_repeated(script, clock, quick, rounds):
    bench, timed = script("cases.harness").Harness(quick), Rounds()
    bench.measure(timed, "case", 10, clock(0.05), {"slow": clock(4.0)}, lambda: None)
    assert bench.rows[0]["rounds"] == rounds
    assert timed.extra_info["calls per round"] == 8  # a tenth of the longest call


@pytest.mark.slow
def test_visits_share_the_rounds_of_a_case(script, clock):
    bench, checks, ordinals = script("cases.harness").Harness(), [], []
    tick = clock(0.1)

    def ours(ordinal):
        ordinals.append(ordinal)
        tick(ordinal)

    for visit, theirs in enumerate((0.5, 1.0, 2.0, 4.0)):
        benchmark = Rounds()
        others = {"peer": clock(theirs)}
        bench.measure(benchmark, "case", 1, ours, others, lambda: checks.append(1), visit=(visit, 4))
        assert benchmark.rounds == 2
    assert len(checks) == 1
    assert len(set(ordinals)) == len(ordinals)
    (row,) = bench.rows
    assert row["rounds"] == 8
    assert row["ratio"] == pytest.approx(15)
    assert (row["ratio_low"], row["ratio_high"]) == (pytest.approx(5), pytest.approx(40))

    def fails(_):
        raise RuntimeError("on a later visit")

    with pytest.raises(RuntimeError, match="later"):
        bench.measure(Rounds(), "case", 1, ours, {"peer": fails}, lambda: None, visit=(3, 4))
    assert not bench.rows


def test_every_optional_peer_is_in_the_extra(script):
    extra = (ROOT / "pyproject.toml").read_text().split("\nbench = [")[1].split("]\n")[0]
    for package in script("cases.peers").OPTIONAL:
        assert f'"{package}' in extra


def test_aims(script):
    targets = script("report.targets")
    small = "thin, x_t, one 28x28 image"
    found = results(
        row(theirs=0.081),
        row(peer="numpy Generator", theirs=0.099),
        row(theirs=0.02, isa="avx2"),
        row(small, targets.SHARE_OF_64, ours=20e-6, theirs=11e-6),
        row("noising and loss of a training step, 128x1x28x28", targets.WHOLE_TRAINING, ours=1e-3, theirs=1.0),
    )
    verdicts = {(case, isa, peer): (value, met) for case, isa, peer, _, value, met in targets.table(found)[1:]}
    assert verdicts["thin, x_t", "avx512", "torch.binomial"] == ("81x", "yes")
    assert verdicts["thin, x_t", "avx512", "numpy Generator"] == ("99x", "**no**")
    assert verdicts["thin, x_t", "avx2", "torch.binomial"] == ("20x", "yes")
    assert verdicts[small, "avx512", targets.SHARE_OF_64] == ("9 us", "**no**")
    assert verdicts["noising and loss of a training step, 128x1x28x28", "avx512", targets.WHOLE_TRAINING] == (
        "0.10%",
        "yes",
    )
    assert verdicts["categorical", "avx512", "torch.multinomial"] == ("not measured", "")
    assert "| thin, x_t | torch.binomial | 81x" in " ".join(script("report.tables").headline({"box": found}).split())


def test_aims_of_instruction_sets_that_a_machine_lacks_are_left_out(script):
    found = results(row(theirs=0.02, isa="avx2"))
    found["machine"] = {**found["machine"], "isa": "avx2"}
    cells = script("report.targets").table(found)[1:]
    assert {isa for _, isa, *_ in cells} == {"avx2"}
    assert ("thin, x_t", "avx2", "torch.binomial", "at least 12x", "20x", "yes") in cells
    assert "| thin, x_t | torch.binomial | 20x" in " ".join(script("report.tables").headline({"box": found}).split())


def test_standing_has_a_row_a_case(script):
    table = script("report.tables").standing(results(row(), row(peer="numpy Generator", theirs=0.2), row(isa="avx2")))
    lines = [line for line in table.splitlines() if line.startswith("| thin")]
    assert len(lines) == 2
    assert "torch.binomial 100, numpy Generator 200" in lines[0]


def test_fill_replaces_blocks_only(script):
    report = script("report.tables")
    page = "above\n<!-- bench report: one -->\nold\n<!-- end -->\nbetween\n"
    page += "<!-- bench report: two -->\n<!-- end -->\nbelow\n"
    filled = report.fill(page, {"one": "| 1 |", "two": "| 2 |"})
    assert "old" not in filled
    assert filled.startswith("above\n") and "between" in filled and filled.endswith("below\n")
    assert filled.index("| 1 |") < filled.index("between") < filled.index("| 2 |")
    assert report.fill(filled, {"one": "| 1 |", "two": "| 2 |"}) == filled
    with pytest.raises(ValueError, match="three"):
        report.fill(page.replace("two", "three"), {"one": "", "two": ""})


def test_report_writes_pages_and_pictures(script, tmp_path, monkeypatch, capsys):
    report = script("report.tables")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/performance.md").write_text("<!-- bench report: targets -->\n<!-- end -->\n")
    sizes = [row(f"thin, x_t, 10^{n} pixels", elements=10**n) for n in (2, 3, 4)]
    threads = [row("thin, x_t, 1,024 images", "fastblackout, 1 thread", 1e-3, 1.9e-3, threads=2)]
    (tmp_path / "box.json").write_text(json.dumps(results(row(), *sizes, *threads)))
    assert report.main([str(tmp_path / "box.json")]) == 0
    printed = capsys.readouterr().out
    assert "Not timed: numba" in printed
    assert "| yes" in printed
    assert "at least 1.85x" in (tmp_path / "docs/performance.md").read_text()
    for name in ("ratios", "size", "threads"):
        with Image.open(tmp_path / f"docs/images/bench-{name}.png") as picture:
            assert picture.width > 600
            assert len(picture.convert("L").getcolors()) > 2  # something was drawn


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"machine": {}}', json.dumps(results() | {"rows": [{}]})])
def test_report_of_a_bad_file_is_one_line(script, tmp_path, monkeypatch, capsys, text):
    report = script("report.tables")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "bad.json").write_text(text)
    assert report.main([str(tmp_path / "bad.json")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "bad.json" in error


def test_the_committed_results_make_the_committed_tables(script):
    report = script("report.tables")
    found = {path.stem: report.load(path) for path in sorted((ROOT / "benchmarks/results").glob("*.json"))}
    cpus = [(name, results) for name, results in found.items() if "card" not in results["machine"]]
    newest_first = dict(sorted(cpus, key=lambda item: item[1]["date"], reverse=True))
    assert newest_first
    newest = next(iter(newest_first.values()))
    tables = (ROOT / "benchmarks/results/tables.md").read_text()
    assert report.TABLES["targets"](newest) in tables
    assert report.COMPARISONS["headline"](newest_first) in tables
    for page in ("README.md", "docs/performance.md"):
        assert report.COMPARISONS["short"](newest_first) in (ROOT / page).read_text()


def test_the_command_reports(tmp_path):
    missing = str(tmp_path / "missing.json")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    code = "import sys; from fastblackout.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "bench", "report", missing]
    done = subprocess.run(command, cwd=tmp_path, env=elsewhere(), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "missing.json" in done.stderr
