"""Runs the tests on a fastblackout that has kernels, a worker a core, and gives them every CPU backend of it."""

import importlib.util
import os

import pytest

from support import workers
from support.installed import use_compiled_package
from support.processor_time import ProcessorTime

_WHAT_TO_DO = use_compiled_package()  # before anything imports fastblackout, as most modules of `support` do


def pytest_configure(config):
    if _WHAT_TO_DO is not None:
        pytest.exit(_WHAT_TO_DO, returncode=4)
    if config.option.durations is not None:
        config.pluginmanager.register(ProcessorTime())


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    if config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput"):
        workers.choose(config.option, config.args)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    workers.environment(os.environ)


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
