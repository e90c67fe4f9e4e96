"""What the Triton ops share on the host: options of a launch, sizes of programs, layouts of tensors."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton

from ..ground.persistent import is_capturing, persistent

Tensor = torch.Tensor
# What lies on the devices, the last used at the end; a graph may hold the address of what a capture has used.
_layouts: dict[Any, Tensor] = {}
_captured: dict[Any, Tensor] = {}
_MOST_LAYOUTS = 1024
_lock = threading.Lock()


def _kernels(name: str) -> ModuleType:
    """fastblackout.kernels.<name>; in a source tree the package is the folder kernels/ beside fastblackout/."""
    package = "fastblackout.kernels"
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        folder = Path(__file__).resolve().parents[2] / "kernels"
        spec = importlib.util.spec_from_file_location(
            package, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None or not (folder / "__init__.py").exists():
            raise ImportError("fastblackout.kernels, the Triton kernels, is not part of this installation")
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    return importlib.import_module(f"{package}.{name}")


def _mend_interpreter() -> None:
    """Triton before 3.7 makes an integer, as range() of a tensor needs it, by int() of an array of shape (1,), which
    NumPy refuses since 2.4."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, *scope: Any) -> None:
        patch(tensor, *scope)  # what was there before is known to the scope, which puts it back
        tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = patched


INTERPRETED = not isinstance(_kernels("thin").thin_kernel, triton.runtime.JITFunction)
if INTERPRETED and tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
    _mend_interpreter()
# A warp a program, no contraction of a * b + c: the results depend on the second, the speed on the first.
OPTIONS = {"num_warps": 1, "num_stages": 1, "enable_fp_fusion": False}
CHUNK_OPTIONS = {**OPTIONS, "num_warps": 4}  # 1,024 elements a program
CHUNK = 1024
INTERPRETED_BLOCK = 32768  # elements of one at most, where it is not smaller than a GPU's
ELEMENT_BLOCK = 32  # of the per-element draws: a lane an element, so that a warp waits for its own 32 only


def _blocks(elements: int, gpu: int) -> int:
    """Elements a program takes at once. Results do not depend on it; the interpreter's time does, on the programs."""
    return max(gpu, triton.next_power_of_2(min(elements, INTERPRETED_BLOCK))) if INTERPRETED else gpu


def _on(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def _rows(*tensors: Tensor | None) -> list[Any]:
    """0-d tensors as one sample of one element."""
    return [t.view(1) if t is not None and t.dim() == 0 else t for t in tensors]


def merged(shape: tuple[int, ...], strides: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Rows (size, stride of each tensor): the sample's, then the merged dimensions of a sample, the fastest first."""
    rows: list[tuple[int, ...]] = []
    for d in range(len(shape) - 1, 0, -1):
        steps = [s[d] for s in strides]
        if shape[d] == 1:
            continue
        if rows and all(step == rows[-1][0] * inner for step, inner in zip(steps, rows[-1][1:], strict=True)):
            rows[-1] = (rows[-1][0] * shape[d], *rows[-1][1:])
        else:
            rows.append((shape[d], *steps))
    return [(shape[0], *(s[0] for s in strides)), *(rows or [(1, *(0 for _ in strides))])]


def _layout(op: str, tensors: list[Any]) -> tuple[Tensor | None, int]:
    """(layout, DIMS) of place in kernels/draw.py for tensors of one shape; None entries keep their column."""
    given = [t for t in tensors if t is not None]
    if all(t.is_contiguous() for t in given):
        return None, 0
    zeros = (0,) * given[0].dim()
    rows = merged(tuple(given[0].shape), [zeros if t is None else t.stride() for t in tensors])
    return _on_device(op, rows, given[0].device), len(rows) - 1


def _on_device(op: str, rows: list[tuple[int, ...]], device: torch.device) -> Tensor:
    key = (device, *rows)
    capturing = is_capturing(device)
    with _lock:
        made = _captured.get(key)
        if made is None:
            made = _layouts.pop(key, None)
        if made is None:
            rule, got = "a call with tensors of these strides", f"sizes and strides {rows}"
            made = persistent(op, rule, device, lambda: torch.tensor(rows, dtype=torch.int64, device=device), got)
        if capturing:
            _captured[key] = made
        elif key not in _captured:
            _layouts[key] = made
            if len(_layouts) > _MOST_LAYOUTS:
                del _layouts[next(iter(_layouts))]
    if made.is_cuda and not capturing:
        made.record_stream(torch.cuda.current_stream(device))  # its memory may be given away once this stream is done
    return made


def _size(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[0], tensor.numel() // max(tensor.shape[0], 1)
