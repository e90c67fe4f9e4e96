"""Runs the tests on a fastblackout that has kernels, by as many workers as there are cores, and gives them every CPU
backend of this processor."""

import importlib.util
import os
from pathlib import Path

import pytest

from support.installed import use_compiled_package

MOST_WORKERS = 8  # each collects all tests, and holds 1 GB
_WHAT_TO_DO = use_compiled_package()  # before anything imports fastblackout, as most modules of `support` do


def pytest_configure(config):
    if _WHAT_TO_DO is not None:
        pytest.exit(_WHAT_TO_DO, returncode=4)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Where pytest-xdist is installed, a worker for each core, but not for one file, nor where somebody looks on.

    A worker has a half of the tests in their order, and takes half of what another has left: few modules come to two
    workers, each of which makes the fixtures of a module for itself."""
    options = config.option
    if not config.pluginmanager.hasplugin("xdist") or hasattr(config, "workerinput"):
        return
    if options.numprocesses is None and not options.tx and options.dist == "no":
        looked_at = options.usepdb or options.trace or options.capture == "no" or options.collectonly
        if looked_at or (len(config.args) == 1 and Path(config.args[0].partition("::")[0]).is_file()):
            return
        options.numprocesses = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    if options.numprocesses and options.dist == "no":
        options.dist = "worksteal"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    """A worker has a core, of which its libraries and compilers would take all."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


# Optional parts, and the tests they are for: named by file, or by a word in the test's name. .ci/run builds all of them
# and makes sure that they are there.
_OPTIONAL = {
    "simt": ("fastblackout._simt", "fastblackout._simt is not built: FASTBLACKOUT_SIMT=1 pip install builds it"),
    "triton": ("triton", "triton is not installed: pip install triton"),
}


def pytest_collection_modifyitems(items):
    for word, (module, reason) in _OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            for item in items:
                if item.path.stem.startswith(f"test_{word}") or f"_{word}_" in item.name:
                    item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc):
    from support.helpers import BACKENDS

    marks = (mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    own = any("backend" in (names.split(",") if isinstance(names, str) else names) for names in marks)
    if "backend" in metafunc.fixturenames and not own:  # test_gpu.py names the backends of the card
        metafunc.parametrize("backend", BACKENDS, indirect=True)


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory):
    """A training records where its data lie in the user's state: the tests have one of their own."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels():
    from support import ptx_kernels

    ptx_kernels.replace_if_asked()


@pytest.fixture
def backend(request):
    """Runs the test once a backend: "reference", "cpu-scalar", and as the processor has them cpu-avx2, cpu-avx512."""
    from support.helpers import using

    with using(request.param):
        yield request.param
