"""The CUDA kernels as they are built, fastblackout._cuda, for the tests that read its machine code."""

import functools
import importlib.util

import pytest

from fastblackout.backends import available

ARCHITECTURES = ["80", "90", "100", "120"]
needs_tools = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="cuobjdump and nvdisasm come with triton, which is not installed",
)


@functools.cache
def module_path():
    module = available.load("_cuda")
    if isinstance(module, str):
        pytest.skip(f"no CUDA kernels to look at: {module}")
    return module.__file__


def built(architecture):
    """sm_NN, where this build has it. .ci/run makes sure that CI's has all."""
    module_path()
    if f"sm_{architecture}" not in available.build_facts()["cuda_architectures"]:
        pytest.skip(f"this build has no sm_{architecture}")
    return f"sm_{architecture}"
