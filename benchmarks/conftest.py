"""Runs the benchmarks on a fastblackout that has kernels; their options, fixtures and closing table."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.installed import use_compiled_package  # of tests/, which pyproject.toml puts on the path

if TYPE_CHECKING:
    from cases.harness import Harness

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's and SciPy's, read when they are imported
_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE))  # the packages beside this file: importing tests by path puts no folder on sys.path

_WHAT_TO_DO = use_compiled_package()
_HARNESS = pytest.StashKey["Harness"]()
_VISITS = 4  # of a case in a full run, minutes apart: neighbours come and go within seconds to minutes


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastblackout benchmarks")
    group.addoption("--quick", action="store_true", help="leave out the long cases, fewer rounds")
    group.addoption("--json", type=Path, metavar="FILE", help="write machine, versions, times and ratios to FILE")


def pytest_configure(config: pytest.Config) -> None:
    if _WHAT_TO_DO is not None:
        pytest.exit(_WHAT_TO_DO, returncode=4)
    config.addinivalue_line("markers", "long: left out by --quick")
    config.addinivalue_line("markers", "last: leaves a large heap, whose free blocks would spare others page faults")
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used")  # after a check that failed
    config.option.benchmark_quiet = True  # our table holds the peers too


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "visit" in metafunc.fixturenames:
        once = metafunc.config.getoption("--quick") or metafunc.definition.get_closest_marker("last")
        visits = 1 if once else _VISITS
        metafunc.parametrize("visit", [(v, visits) for v in range(visits)], ids=lambda visit: f"visit{visit[0] + 1}")


@pytest.hookimpl(trylast=True)  # pytest puts a file's tests together
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> tuple[bool, int]:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        return item.get_closest_marker("last") is not None, params.get("visit", (0, 1))[0]

    items.sort(key=turn)
    if config.getoption("--quick"):
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


@pytest.fixture(scope="session")
def harness(pytestconfig: pytest.Config) -> Harness:
    import torch

    from cases.harness import Harness

    torch.set_num_threads(1)
    return pytestconfig.stash.setdefault(_HARNESS, Harness(pytestconfig.getoption("--quick")))


@pytest.fixture
def bench(
    harness: Harness, benchmark: Any, request: pytest.FixtureRequest, visit: tuple[int, int]
) -> Callable[..., None]:
    """Harness.measure, for this visit of this test's case."""
    return functools.partial(harness.measure, benchmark, op=request.path.stem.removeprefix("test_"), visit=visit)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    harness = config.stash.get(_HARNESS, None)
    if harness is None or not (harness.rows or harness.notes):
        return
    from report.tables import markdown

    terminalreporter.section("fastblackout beside its peers")
    about = "M/s: millions of elements in a second; ratio: times as fast as the peer. Higher is better."
    terminalreporter.write_line(about)
    terminalreporter.write_line(markdown(harness.results()))
    if path := config.getoption("--json"):
        harness.write(path)
        terminalreporter.write_line(f"written to {path}")
