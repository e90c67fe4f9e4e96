"""What the launches share on the host: sizes of programs, options, layouts of tensors.

A launch takes an op's arguments as its torch schema has them, in that order, then its outputs, None where one is not
asked for, then flag: int32 (1,), which gets bits for wrong values (fastblackout/backends/wrong_values.py has the rules;
kernels of transition probabilities also do without). The leading dimension of every tensor is the sample. key: int64
(3,) on the device (seed as two's complement, first_sample, call). Numbers of a sample: float64 (B,) for p, q, sigma_p,
sigma_q, factor, weight and coefficient, float32 (B,) for gain, center and scale; p and q expanded from one number
(stride 0) build one table of thresholds instead of B. Matrices: float64 or float32 (K, rows, columns) of any strides;
index: int64 (B,), None: K is 1 (one for all samples) or B. Tables are dense.
Nothing synchronises. Launches go to torch's current stream and can be captured in a CUDA graph once the same call has
run before (then kernels are compiled, and layouts that are not C order lie on the device).
Two launches where CUDA C++ takes one: thin and bridge_step, with a scratch of 43 KB a sample (table.py says why),
the loss of few large samples (birth_loss.py does), the energy loss and its gradient (energy_loss.py), and the loss of a
law (posterior_loss.py).
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import Any

import torch
import triton
from torch import Tensor

from ..ground.persistent import is_capturing, persistent

# What lies on the devices, the last used at the end; a graph may hold the address of what a capture has used.
_layouts: dict[Any, Tensor] = {}
_captured: dict[Any, Tensor] = {}
_MOST_LAYOUTS = 1024
_lock = threading.Lock()


@triton.jit
def _nothing():
    pass


def _mend_interpreter() -> None:
    """Triton before 3.7 makes an integer, as range() of a tensor needs it, by int() of an array of shape (1,), which
    NumPy refuses since 2.4."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, *scope: Any) -> None:
        patch(tensor, *scope)  # what was there before is known to the scope, which puts it back
        tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = patched


INTERPRETED = not isinstance(_nothing, triton.runtime.JITFunction)
if INTERPRETED and tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
    _mend_interpreter()
# A warp a program, no contraction of a * b + c: the results depend on the second, the speed on the first.
OPTIONS = {"num_warps": 1, "num_stages": 1, "enable_fp_fusion": False}
INTERPRETED_BLOCK = 32768  # elements of one at most, where it is not smaller than a GPU's
ELEMENT_BLOCK = 32  # of the per-element draws: a lane an element, so that a warp waits for its own 32 only


@functools.cache
def registers(most: int) -> dict[str, int]:
    """The option that lets a kernel take so many registers: without it NVIDIA's assembler spills a few to memory where
    that gives room for one warp more. AMD's compiler and the interpreter know none such."""
    cuda = not INTERPRETED and triton.runtime.driver.active.get_current_target().backend == "cuda"
    return {"maxnreg": most} if cuda else {}


def block_size(elements: int, gpu: int) -> int:
    """Elements a program takes at once. Results do not depend on it; the interpreter's time does, on the programs."""
    return max(gpu, triton.next_power_of_2(min(elements, INTERPRETED_BLOCK))) if INTERPRETED else gpu


def on(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def bounded(counts: Tensor, max_count: int) -> bool:
    """Whether the dtype has no counts but those in 0..max_count."""
    return counts.dtype == torch.uint8 and max_count >= 255


def as_rows(*tensors: Tensor | None) -> list[Any]:
    """0-d tensors as one sample of one element."""
    return [t.view(1) if t is not None and t.dim() == 0 else t for t in tensors]


def batch_and_elements(tensor: Tensor) -> tuple[int, int]:
    """(samples, elements of each)"""
    return tensor.shape[0], tensor.numel() // max(tensor.shape[0], 1)


def per_element(
    op: str, arrays: list[Any], gpu: int = ELEMENT_BLOCK, **options: Any
) -> tuple[tuple[int], tuple[Tensor | None, int], dict[str, Any]]:
    """(grid, (layout, elements), options) of a launch over arrays of one shape, the first not None: as many programs a
    sample as span in draw.py says, each of PARTS blocks, on a GPU of `gpu` elements."""
    batch, elements = batch_and_elements(arrays[0])
    block = block_size(elements, gpu)
    programs = batch * triton.cdiv(elements, block * options.get("PARTS", 1))
    layout, dims = layout_of(op, arrays)
    options = {**OPTIONS, "ALIGNED": elements % 16 == 0, "DIMS": dims, "BLOCK": block, **options}
    return (programs,), (layout, elements), options


def launch_draw(op: str, kernel: Any, arrays: list[Any], key: Tensor, flag: Tensor, **options: Any) -> None:
    """An element-wise draw of arrays of one shape, the first not None and the last the output."""
    arrays = as_rows(*arrays)
    if arrays[0].numel() == 0:
        return
    grid, sizes, options = per_element(op, arrays, **options)
    with on(arrays[0]):
        kernel[grid](*arrays, key, flag, *sizes, **options)


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


def layout_of(op: str, tensors: list[Any]) -> tuple[Tensor | None, int]:
    """(layout, DIMS) of place in draw.py for tensors of one shape; None entries keep their column."""
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
