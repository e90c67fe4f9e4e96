"""The short way into the CUDA kernels, with host memory for a device's: the calls go to fastblackout._simt."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import torch

from fastblackout.backends import available, select
from fastblackout.call import operation, short, torch_registry
from support.simt import _simt

CUDA = 2  # DLPack's code of the device


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


EXPORT = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(Tensor))
STREAM = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p))
CAPSULE = b"dlpack_exchange_api"


class Table(ctypes.Structure):
    """DLPackExchangeAPI, version 1.3."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("unused", ctypes.c_void_p * 4),
        ("export", EXPORT),
        ("stream", STREAM),
    ]


class Device:
    """What the exchange table says of tensors: they lie on device 0, but for those named here, and work on `stream`."""

    def __init__(self) -> None:
        self.stream, self.elsewhere, self.asked = 0, set[int](), list[tuple[int, int]]()
        self.fails = False
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        torchs = Table.from_address(pointer(torch.Tensor.__dlpack_c_exchange_api__, CAPSULE))
        self.table = Table(1, torchs.minor)
        self.table.export, self.table.stream = EXPORT(self._export), STREAM(self._stream)
        self._real = torchs.export
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self.capsule = make(ctypes.addressof(self.table), CAPSULE, None)

    def _export(self, tensor: Any, out: Any) -> int:
        done = self._real(tensor, out)
        out.contents.device_type, out.contents.device_id = CUDA, int(id(tensor) in self.elsewhere)
        return int(done)

    def _stream(self, device_type: int, device_id: int, out: Any) -> int:
        self.asked.append((device_type, device_id))
        out[0] = self.stream
        return -1 if self.fails else 0


def none(*_: Any) -> None:
    """In the place of functions of modules where nothing is plain."""


class Calls:
    """long: the ops that have gone the long way."""

    def __init__(self) -> None:
        self.long: list[str] = []

    def short(self, call: Any, *values: Any, **options: Any) -> Any:
        """The result of an op that must have gone the short way, by one kernel."""
        before, launches = len(self.long), _simt.launches()
        made = call(*values, **options)
        assert len(self.long) == before and _simt.launches() == launches + 1
        return made


@contextlib.contextmanager
def on_device(monkeypatch: Any, device: Device | None = None) -> Iterator[Calls]:
    """Within the block, the public ops take tensors for tensors of a CUDA device, whose memory is the host's."""
    calls, chosen, route = Calls(), select.select, torch_registry.call

    def select_there(op: str, backend: str, device: str, elements: int = 0, drawn_by: str = "") -> str:
        return chosen(op, backend, "cuda", elements, drawn_by)

    def long_way(op: Any, *given: Any) -> Any:
        calls.long.append(op.name)
        return route(op, *given)

    load, own_table = available.load, torch.Tensor.__dlpack_c_exchange_api__
    with monkeypatch.context() as patch:
        patch.setattr(select, "select", select_there)
        patch.setattr(select, "select_host", lambda op, backend, *_: select_there(op, backend, "cpu"))
        patch.setattr(available, "load", lambda name: _simt if name == "_cuda" else load(name))
        patch.setattr(available, "absent", lambda backend, op: None if backend == "cuda" else "not on this device")
        patch.setattr(operation, "through_torch", lambda value, backend: isinstance(value, torch.Tensor))
        patch.setattr(torch_registry, "call", long_way)
        patch.setattr(
            short, "_function", lambda module, _, name: getattr(_simt, name, none) if module == "_cuda" else none
        )
        patch.setattr(torch.cuda, "is_initialized", lambda: True)
        assert short.teach(_simt, own_table if device is None else device.capsule)
        try:
            yield calls
        finally:
            short.teach(_simt, own_table)
            _simt.capture(None)
