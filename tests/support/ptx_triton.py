"""The Triton kernels as Triton compiles them for a GPU, PTX, run on the CPU: a backend and a driver as Triton has them.

`replace` puts them in the place of NVIDIA's. Triton then compiles as for that GPU, but for the last step, ptxas; the
PTX is translated by tests/ptx, and a launch runs it on the fibers of csrc/simt, on tensors of the CPU. The kernels'
own launches, and all of Triton that is not the GPU, run as ever. What is compiled is kept in build/ptx.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import torch
from triton.backends import Backend, backends
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from triton.runtime import driver

from ptx.build import Library
from support import ptx_kernels

# Of Triton's names of types, as struct has them.
_FORMATS = {"i1": "?", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u8": "B", "u16": "H", "u32": "I", "u64": "Q"}
_FORMATS |= {"fp32": "f", "fp64": "d"}
_settings = [0, 0]
_launches: dict[str, int] = {}
_libraries: dict[str, Library] = {}  # by their PTX
changed: Callable[[str], str] = lambda ptx: ptx  # noqa: E731  what is made of the PTX before it is translated


class Compiler(CUDABackend):
    """NVIDIA's without ptxas: what is loaded is the PTX."""

    def __init__(self, target: GPUTarget) -> None:
        super().__init__(target)
        self.binary_ext = "ptx"

    def add_stages(self, stages: dict[str, Any], *options: Any) -> None:
        super().add_stages(stages, *options)
        del stages["cubin"]


class Utils:
    def load_binary(self, name: str, ptx: bytes, shared: int, device: int) -> tuple[Any, ...]:
        """(module, function, registers, spills, threads at most)"""
        text = changed(ptx.decode())
        if text not in _libraries:
            _libraries[text] = ptx_kernels.library(text)
        return text, (_libraries[text], name, shared), 0, 0, 1024

    def unload_module(self, module: Any) -> None:
        pass

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 227 << 10}


class Launcher:
    """What Triton calls with a kernel's arguments."""

    def __init__(self, src: Any, metadata: Any) -> None:
        self.types, self.threads = list(src.signature.values()), 32 * metadata.num_warps
        # Only where ptxas is told to fuse nothing an add and a mul without a rounding are what they say.
        assert not metadata.enable_fp_fusion, "products and sums may be fused"

    def __call__(self, blocks: int, y: int, z: int, stream: int, function: Any, packed: Any, *more: Any) -> None:
        from fastblackout import _simt

        library, name, shared = function
        given = more[3:]  # behind the launch's metadata and two hooks
        values = [
            struct.pack("Q", value.data_ptr()) if kind.startswith("*") else struct.pack(_FORMATS[kind], value)
            for kind, value in zip(self.types, given, strict=True)
            if kind != "constexpr"
        ]
        sizes = library.entries[name].sizes
        values += [bytes(size) for size in sizes[len(values) :]]  # scratch memory, for which no kernel asks
        assert (y, z, [len(value) for value in values]) == (1, 1, sizes), name
        library.settings.approximations, library.settings.poison = _settings
        _launches[name] = _launches.get(name, 0) + 1
        _simt.run(library.address(name), library.shared + shared, blocks, self.threads, values)


class Driver:
    utils, launcher_cls = Utils(), Launcher

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


def replace(kernels: str = "triton") -> None:
    """For the rest of the process."""
    os.environ["TRITON_CACHE_DIR"] = str(ptx_kernels.CACHE / "triton")
    os.environ.pop("LD_PRELOAD", None)  # a sanitizer is loaded by now, and would slow down g++
    backends["nvidia"] = Backend(compiler=Compiler, driver=Driver)
    driver.set_active(Driver())


def launches() -> dict[str, int]:
    """How often each kernel was launched."""
    return _launches


def set_up(kernels: str, approximations: int, poison: int, races: bool) -> None:
    """As in ptx_kernels.py, for the kernels that have been compiled and those that will be; without the race finder."""
    assert not races
    _settings[:] = approximations, poison
