"""Runs the tests on a fastblackout that has kernels, and gives them every CPU backend of this processor."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest


def _load(name):
    """A helper module of this folder, importable by its name from the tests whatever the import mode."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_WHAT_TO_DO = _load("installed").use_compiled_package()
if _WHAT_TO_DO is None:
    _helpers = _load("helpers")
    for _name in (
        "op_states",
        "op_table",
        "product",
        "process_calls",
        "gpu_checks",
        "gpu_torch_checks",
        "sass",
        "cuda_counts",
        "short_way",
    ):
        _load(_name)


def pytest_configure(config):
    if _WHAT_TO_DO is not None:
        pytest.exit(_WHAT_TO_DO, returncode=4)


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
    marks = (mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    own = any("backend" in (names.split(",") if isinstance(names, str) else names) for names in marks)
    if "backend" in metafunc.fixturenames and not own:  # test_gpu.py names the backends of the card
        metafunc.parametrize("backend", _helpers.BACKENDS, indirect=True)


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory):
    """A training records where its data lie in the user's state: the tests have one of their own."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture
def backend(request):
    """Runs the test once a backend: "reference", "cpu-scalar", and as the processor has them cpu-avx2, cpu-avx512."""
    with _helpers.using(request.param):
        yield request.param
