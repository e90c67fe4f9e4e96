"""Tensors that outlive the call that makes them, and tables of numbers kept on every device that asked for them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

T = TypeVar("T")


def is_capturing(device: torch.device) -> bool:
    """Whether the current stream is being captured in a CUDA graph."""
    return device.type == "cuda" and sys.modules["torch"].cuda.is_current_stream_capturing()


def persistent(op: str, rule: str, device: torch.device, make: Callable[[], T], got: str = "none") -> T:
    """What `make` returns, made in a thread of its own and ready for all streams.

    What a thread allocates while torch warms up or captures a CUDA graph (torch.compile(mode="reduce-overhead") does
    both, and its warm-up is no capture that one could ask about) belongs to that graph, which writes over it at a
    later replay. A tensor made in inference mode cannot take part in training, and under a dispatch mode it may hold
    no numbers. All of these are states of the calling thread or of its current stream, and a new thread has none of
    them: it allocates from the device's common memory, on the device's default stream.

    Raises ValueError while the calling thread captures: what must have happened on the device before is `rule`.
    """
    if is_capturing(device):
        raise ValueError(f"{op}: CUDA graph: {rule} must have run on {device} before a capture, got {got}")

    def run() -> T:
        made = make()
        if device.type == "cuda":
            # This waits once, since other streams will use the tensor too.
            sys.modules["torch"].cuda.current_stream(device).synchronize()
        return made

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(run).result()


class Table:
    """A float64 array by index, in NumPy and as a tensor on each device that asked, with the same bits everywhere.

    The tensors are not buffers of a module, because half() would round those and state_dict() would hold them. Each is
    an attribute of its own and not an entry of a dict, because torch.compile sees only the entries that a dict has when
    it first looks at it.
    """

    def __init__(self, values: Callable[[], NDArray[np.float64]]) -> None:
        """values is called when the numbers are first needed, and again for every device."""
        self._values = values

    def __reduce__(self) -> tuple[Any, ...]:
        return Table, (self._values,)  # the tensors are left out, since the copy may be for another device

    def at(self, op: str, index: Any) -> Any:
        """The numbers at an integer array of NumPy, or at an integer tensor, on its device."""
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(index, torch.Tensor):
            return self._values()[index]
        if not torch.compiler.is_compiling() and type(index).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
            return self._tensor(index.device)[index]  # of a kind of its own, such as a FakeTensor, as the index is
        name = f"on {index.device}"
        self._place(op, name, index.device)
        return getattr(self, name)[index]

    def _place(self, op: str, name: str, device: torch.device) -> bool:
        if not hasattr(self, name):
            rule = "an operation with these steps"
            setattr(self, name, persistent(op, rule, device, lambda: self._tensor(device)))
        return True

    # What torch.compiler.assume_constant_result sets, which needs torch: where torch traces, this runs at once instead
    # of becoming part of the graph, and the tensor it leaves behind is a plain input of the graph. It may return no
    # tensor itself: torch 2.11 takes all tensors that such functions return for the first one.
    _place._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def _tensor(self, device: torch.device) -> torch.Tensor:
        return sys.modules["torch"].tensor(self._values(), device=device)
