"""fastblackout._cuda without a card: what nvcc made of it, linked with card.cpp in place of CUDA's runtime.

Its launches run nothing. Each is refused where a card of the given limits would refuse it, else recorded.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import importlib.util
import itertools
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support import ROOT, ptx_kernels, sass
from support.cuda_module import module_path


class Limits(NamedTuple):
    shared: int  # bytes of a block at most, by the CUDA Programming Guide's table of technical specifications
    code: str  # of which architecture such a card runs the machine code


_KIB = {"80": (163, 80), "86": (99, 80), "89": (99, 80), "90": (227, 90), "100": (227, 100), "120": (99, 120)}
CARDS = {capability: Limits(kib * 1024, str(code)) for capability, (kib, code) in _KIB.items()}
RESERVED = 1024  # bytes that ptxas adds to a kernel's from sm_90 on; no limit counts them
_FLAGS = "-std=c++17 -O1 -fPIC -shared -Wl,-Bsymbolic"  # symbolic: torch has loaded a runtime too
_devices = itertools.count(1)  # device 0 is the one that is in use outside of a launch


class Launch(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("stream", ctypes.c_int64)]
    _fields_ += [(name, ctypes.c_int32) for name in ("device", "blocks", "threads", "fixed", "given", "opted_in")]


@functools.cache
def _linked() -> tuple[Any, Any]:
    """(the module, the same library for ctypes)"""
    module_path()
    build = ROOT / f"build/ninja-{sysconfig.get_platform()}"
    objects = [*build.glob("_cuda/csrc/cuda/*.o"), *build.glob(f"{ptx_kernels.build()['PYTHON']}/_cuda/csrc/**/*.o")]
    if not objects:
        pytest.skip("build/ holds no object files of fastblackout._cuda: it was built elsewhere")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "_cuda.so"))
        stub = ROOT / "tests/support/card.cpp"
        command = [ptx_kernels.build()["CXX"], *_FLAGS.split(), str(stub), *map(str, objects), "-o", path]
        subprocess.run(command, check=True)
        loader = importlib.machinery.ExtensionFileLoader("_cuda", path)
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_cuda", loader))
        loader.exec_module(module)
        return module, ctypes.CDLL(path)


class Card:
    """A card of a compute capability, on which no kernel has run. It serves as `module` of fastblackout.backends.cuda,
    with tensors on the CPU. shared: bytes of a block, where they are not the card's."""

    def __init__(self, capability: str, stream: int = 0, shared: int | None = None) -> None:
        self.module, self.library = _linked()
        self.device, self.stream = next(_devices), stream
        limits = CARDS[capability]
        self.library.card_begin(limits.shared if shared is None else shared)
        for name, used in sass.resources(module_path())[f"sm_{limits.code}"].items():
            fixed = used.shared - (RESERVED if int(limits.code) >= 90 and used.shared else 0)
            assert self.library.card_kernel(name.encode(), fixed, used.registers) == 1, name

    def __getattr__(self, kernel: str) -> Any:
        return lambda head, *fields: getattr(self.module, kernel)((self.device, self.stream, *head[2:]), *fields)

    def launches(self) -> list[Launch]:
        first = ctypes.POINTER(Launch)()
        count = self.library.card_launches(ctypes.byref(first))
        return [Launch.from_buffer_copy(one) for one in first[:count]]

    def asked(self) -> Any:
        """How often a launch asked for more shared memory."""
        return self.library.card_asked()

    def device_in_use(self) -> int:
        device = ctypes.c_int()
        self.library.cudaGetDevice(ctypes.byref(device))
        return device.value
