"""A device "cuda" without a GPU: tensors in host memory that say cuda:0 and refuse what a GPU's tensors refuse.

An operation on such a tensor and on a CPU tensor raises, as torch does on a GPU, and so does a NumPy view of it; copies
to the host and other waits for the device are counted, and raise within `no_waits`, there together with copies to the
device out of memory that is not pinned. The ops run the CUDA kernels of csrc/simt on that memory, by the
code that takes a GPU's tensors. Torch's C++ code takes them for CPU tensors, so that autograd needs no driver. `start`
turns it on for the rest of the process.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)
# They take tensors of both kinds on a GPU too: a copy between the devices, and an index on the host.
BOTH = {"copy_", "index", "index_put", "index_put_", "_index_put_impl_"}
WAITS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2"}  # the host waits for the device
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}
KERNELS: dict[str, Any] = {}  # of fastblackout's registered ops, by name
waits: list[str] = []  # the operations that waited
made: list[tuple[int, Any]] = []  # (thread, weak reference) of every tensor of the device
pinned: dict[int, torch.Tensor] = {}  # by address of their memory; kept, so that no other tensor gets it
forbidden: list[bool] = []  # not empty: a wait raises
captured: list[list[Any]] = []  # not empty: what runs is also put into the last of these, to run again


def wait(what: str) -> None:
    """The host waits for the device."""
    if forbidden:
        raise RuntimeError(f"called a synchronizing CUDA operation: {what}")  # torch.cuda.set_sync_debug_mode("error")
    waits.append(what)


@contextlib.contextmanager
def no_waits() -> Iterator[None]:
    """Within the block a wait for the device raises, in every thread."""
    forbidden.append(True)
    try:
        yield
    finally:
        forbidden.pop()


def copied_to_device(what: str, host: torch.Tensor, non_blocking: Any) -> None:
    """A copy to the device: torch waits for it unless it is told not to and the memory is pinned."""
    if forbidden and not (non_blocking and host.untyped_storage().data_ptr() in pinned):
        wait(f"{what} out of memory that is not pinned")


def pin(host: torch.Tensor, *_: Any) -> torch.Tensor:
    """Tensor.pin_memory."""
    if host.untyped_storage().data_ptr() in pinned:
        return host
    there = host.clone()
    pinned[there.untyped_storage().data_ptr()] = there
    return there


class Graph:
    """torch.cuda.CUDAGraph. A card runs nothing during a capture and all of it at every replay; here the capture has
    run it, in place of the first replay, and each later one runs it again, in the same memory."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for call in self.calls if self.replays > 1 else ():
            call()


@contextlib.contextmanager
def capture(graph: Graph, **_: Any) -> Iterator[None]:
    """torch.cuda.graph."""
    captured.append(graph.calls)
    try:
        with no_waits():
            yield
    finally:
        captured.pop()


def again(call: Any, out: Any) -> None:
    """Puts into a graph that `call` writes its results where the results of its first run, `out`, are."""

    def replay() -> None:
        for old, new in zip(tree_leaves(out), tree_leaves(call()), strict=True):
            if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():  # else a view, or written in place
                old.copy_(new)

    if captured:
        captured[-1].append(replay)


class DeviceTensor(torch.Tensor):
    """host: the CPU tensor that holds the numbers."""

    host: torch.Tensor
    device, is_cuda, is_cpu = property(lambda self: CUDA), True, False
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> DeviceTensor:
        facts = {"strides": host.stride(), "storage_offset": host.storage_offset(), "dtype": host.dtype}
        with torch.inference_mode(False):  # its views could not be made in that mode
            self = torch.Tensor._make_wrapper_subclass(cls, host.shape, device="cpu", **facts)
        self.host = host.detach()
        made.append((threading.get_ident(), weakref.ref(self)))
        return self

    def data_ptr(self) -> int:
        return self.host.data_ptr()

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        asked, args, kwargs = asked_of_to(args, kwargs)
        if asked == "cpu":
            if not kwargs.get("non_blocking"):
                wait("to")
            return self.host.clone().to("cpu", *args, **kwargs)
        return super().to("cpu", *args, **kwargs)  # where C++ takes it to be

    def cpu(self, *_: Any) -> torch.Tensor:
        return self.to("cpu")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        made = DeviceTensor(self.host.clone()).requires_grad_(self.requires_grad)
        return torch.nn.Parameter(made, self.requires_grad) if isinstance(self, torch.nn.Parameter) else made

    def record_stream(self, stream: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"DeviceTensor({self.host})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch does for `func`, with the numbers in host memory."""
        name, leaves = func.overloadpacket.__name__, tree_leaves((args, kwargs))
        if func.namespace == "fastblackout":
            return KERNELS[name](*args, **(kwargs or {}))
        here = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, DeviceTensor)]
        if any(tensor.ndim for tensor in here) and name not in BOTH:
            shapes = [tuple(tensor.shape) for tensor in here]
            raise RuntimeError(f"{func}: tensors on cuda:0 and on the cpu, the latter of shapes {shapes}")
        if name in WAITS or (name == "copy_" and here and args[0] is here[0]):
            wait(name)
        if name == "copy_" and here and args[1] is here[0]:
            copied_to_device(name, here[0], args[2] if len(args) > 2 else kwargs and kwargs.get("non_blocking"))
        if name in INDEXED and any(x.dtype in (torch.bool, torch.uint8) or x in here for x in tensors_of(args[1])):
            wait(f"{name} by a mask or by indices on the host")
        hosts, numbers = tree_map(lambda leaf: getattr(leaf, "host", leaf), (args, kwargs or {}))
        out = func(*hosts, **numbers)
        again(lambda: func(*hosts, **numbers), out)
        given = {id(getattr(leaf, "host", leaf)): leaf for leaf in leaves if isinstance(leaf, torch.Tensor)}

        def back(value: Any) -> Any:
            if id(value) in given:  # written in place
                return given[id(value)]
            return DeviceTensor(value) if isinstance(value, torch.Tensor) else value

        return tree_map(back, out)


def tensors_of(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def asked_of_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str | None, tuple[Any, ...], dict[str, Any]]:
    """The device that a call of Tensor.to asks for, and its other arguments."""
    asked = kwargs.pop("device", None)
    if args and not isinstance(args[0], torch.dtype):
        asked, args = args[0], args[1:]
    if isinstance(asked, torch.Tensor):
        asked, args = asked.device, (asked.dtype, *args)
    return None if asked is None else torch.device(asked).type, args, kwargs


def grouped(group: Any) -> Any:
    """torch's C++ function that groups tensors by device, with the device that these name."""

    def call(lists: Any, *more: Any) -> Any:
        device = lists[0][0].device if lists[0] else CUDA
        return {(device, dtype): found for (_, dtype), found in group(lists, *more).items()}

    return call


class Device(TorchFunctionMode):
    """Makes tensors on the device where a function is asked to, or copies the host's tensors to it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to:
            asked, rest, kwargs = asked_of_to(args[1:], kwargs)
            args = (args[0], *rest) if asked is None else (args[0], asked.replace("cuda", "cpu"), *rest)
        else:
            asked = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
            kwargs |= {"device": "cpu"} if asked == "cuda" else {}
        if asked == "cuda" and func in (torch.Tensor.to, torch.tensor, torch.as_tensor):
            host = args[0] if isinstance(args[0], torch.Tensor) else torch.empty(0)
            if not isinstance(host, DeviceTensor):
                copied_to_device(func.__name__, host, kwargs.get("non_blocking"))
        out = func(*args, **kwargs)
        if asked != "cuda" or isinstance(out, DeviceTensor):
            return out
        there = DeviceTensor(out.clone())
        again(lambda: out, there.host)
        return there


def start() -> None:
    """Turns it on; the kernels come from fastblackout._simt."""
    from fastblackout import _simt
    from fastblackout.backends import available
    from fastblackout.call import torch_registry
    from fastblackout.ground import values

    KERNELS.update(torch_registry.kernels)
    stream = types.SimpleNamespace(cuda_stream=0, synchronize=lambda: None)
    stream.wait_stream = lambda other: None
    answers = {"current_stream": stream, "synchronize": None, "Stream": stream, "stream": contextlib.nullcontext()}
    torch.cuda.is_current_stream_capturing = lambda: bool(captured)
    torch.cuda.CUDAGraph, torch.cuda.graph = Graph, capture
    run = torch_registry.run

    def kernel(*arguments: Any) -> None:
        with_graph, captured[:] = captured[:], []
        run(*arguments)
        captured[:] = with_graph
        again(lambda: run(*arguments), None)

    torch_registry.run = kernel
    for name, result in {**answers, "mem_get_info": (1 << 30, 1 << 30), "set_device": None}.items():
        setattr(torch.cuda, name, lambda *_, result=result: result)
    torch.cuda.device = lambda device: contextlib.nullcontext()
    torch.cuda.Event = lambda: types.SimpleNamespace(record=lambda stream: None, synchronize=lambda: None)
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # no .data of another class
    torch.Tensor.pin_memory = pin
    for module in (torch.nn.utils.clip_grad, torch.optim.swa_utils, sys.modules["torch.optim.optimizer"]):
        module._group_tensors_by_device_and_dtype = grouped(module._group_tensors_by_device_and_dtype)
    load, absent = available.load, available.absent
    available.load = lambda name: _simt if name == "_cuda" else load(name)
    available.absent = lambda backend, op: None if backend == "cuda" else absent(backend, op)
    for name, module in sys.modules.items():
        if name.startswith("fastblackout.") and hasattr(module, "is_traced"):  # a class of its own is no tracing here
            module.is_traced = lambda value: torch.compiler.is_compiling()
    values._stands_for_others = lambda *_: False
    thread_run = threading.Thread.run

    def in_mode(self: threading.Thread) -> None:
        with Device():
            thread_run(self)

    threading.Thread.run = in_mode
    Device().__enter__()
