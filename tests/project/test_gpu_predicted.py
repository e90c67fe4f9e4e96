"""The predictions for a GPU in docs/performance.md are made of the kernels that are built."""

import re

import pytest

from fastblackout.backends import available
from support import ROOT, cuda_counts
from support.cuda_module import built

PAGE = ROOT / "docs/performance.md"


@pytest.fixture
def predicted(script):
    return script("gpu.predicted")


def test_a_launch_is_as_slow_as_the_slowest_of_three(predicted):
    launches = predicted.Launch("a", 4), predicted.Launch("b", 10), predicted.Launch("c", 10, 50.0)
    counts = {"a": 100.0, "b": 10.0, "c": 100.0}  # of "c" shared memory takes the time of 4 x 50 instructions
    assert predicted.seconds(launches, counts, 1e3, 1e2) == pytest.approx(0.1 + 0.1 + 0.2)
    assert round(predicted.H100.issue / 1e12, 1) == 29.7


def test_what_goes_at_half_rate_counts_twice_where_it_binds(predicted):
    at_half_rate = cuda_counts.at_half_rate
    for text in ("LOP3.LUT R1, R2", "@!P0 VIADD R1, R2", "@UP1 PRMT R1", "FSETP.GE.AND P0", "VIMNMX.U32 R1", "SHF R1"):
        assert at_half_rate(text), text
    for text in ("IMAD.IADD R1, R2", "FADD R1, R2", "UIADD3 UR1", "LDS R1", "BRA `(.L_1)", "ULOP3.LUT UR4"):
        assert not at_half_rate(text), text
    assert predicted.Instructions(39.0, 23.5).issued == 47.0 and predicted.Instructions(180.0, 70.0).issued == 180.0


def test_the_page_has_the_counts_of_this_build(script):
    """Under the release of nvcc that the page names: for every release there are the budgets of test_cuda_build.py."""
    pytest.importorskip("triton", reason="nvdisasm comes with triton, which is not installed")
    module = available.load("_cuda")
    if isinstance(module, str):
        pytest.skip(f"no CUDA kernels to look at: {module}")
    built("90")
    (block,) = re.findall(r"<!-- gpu predicted -->\n(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL)
    (recorded,), release = re.findall(r"As nvcc (\S+) compiles", block), available.build_facts()["cuda_release"]
    if release != recorded:
        pytest.skip(f"the page has the counts of nvcc {recorded}, and this build is by {release}")
    table = [[cell.strip() for cell in line.strip("| ").split("|")] for line in block.splitlines() if line[:1] == "|"]
    stale = "run python -m report.predicted --write in benchmarks/"
    for line, row in zip(table[2:], script("report.predicted").rows(module.__file__), strict=True):
        for written, counted in zip(line, row, strict=True):
            if re.fullmatch(r"[\d.]+", counted):  # 1%: releases with other last numbers may differ in an instruction
                written, counted = float(written), pytest.approx(float(counted), rel=0.01)
            assert written == counted, f"{line}, now {row}: {stale}"
