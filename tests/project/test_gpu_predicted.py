"""The predictions for a GPU in docs/performance.md are those of the kernels that are built."""

import re
import types

import pytest

from fastblackout.backends import available
from support import ROOT

PAGE = ROOT / "docs/performance.md"


@pytest.fixture
def predicted(script):
    return script("gpu.predicted")


def test_a_launch_is_as_slow_as_the_slowest_of_three(predicted):
    launches = predicted.Launch("a", 4), predicted.Launch("b", 10), predicted.Launch("c", 10, 50.0)
    counts = {"a": 100.0, "b": 10.0, "c": 100.0}  # of "c" shared memory takes the time of 4 x 50 instructions
    assert predicted.seconds(launches, counts, 1e3, 1e2) == pytest.approx(0.1 + 0.1 + 0.2)
    assert round(predicted.H100.issue / 1e12, 1) == 29.7


def test_the_page_has_the_counts_of_this_build(predicted):
    """Within 3%: another nvcc may order a few instructions otherwise."""
    pytest.importorskip("triton", reason="nvdisasm comes with triton, which is not installed")
    module = available.load("_cuda")
    if isinstance(module, str):
        pytest.skip(f"no CUDA kernels to look at: {module}")
    rows = predicted.rows(module.__file__)
    (block,) = re.findall(r"<!-- gpu predicted -->\n(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL)
    table = [[cell.strip() for cell in line.strip("| ").split("|")] for line in block.strip().splitlines()[2:]]
    stale = "run python -m report.predicted --write in benchmarks/"
    assert [line[:2] for line in table] == [list(row[:2]) for row in rows], stale
    for line, row in zip(table, rows, strict=True):
        for written, counted in zip(line[2:], row[2:], strict=True):
            assert (written == "") == (counted == ""), stale
            if written:
                assert float(written) == pytest.approx(float(counted), rel=0.03), f"{line}, now {row}: {stale}"


def test_the_table_is_written_into_the_page(script, monkeypatch, tmp_path, capsys):
    report, page = script("report.predicted"), tmp_path / "page.md"
    page.write_text("above\n<!-- gpu predicted -->\nold\n<!-- end -->\nbelow\n")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "rows", lambda module: [(module, *"abcdefghi")])
    monkeypatch.setattr(available, "load", lambda name: types.SimpleNamespace(__file__="built.so"))
    assert report.main([]) == 0
    assert "old" in page.read_text()
    assert report.main(["--write"]) == 0
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("below\n") and "old" not in text
    assert "| built.so | a " in text and text.count("<!--") == 2
    monkeypatch.setattr(available, "load", lambda name: "not built")
    assert report.main([]) == 1
    assert capsys.readouterr().err == "report.predicted: no CUDA kernels to look at: not built\n"
