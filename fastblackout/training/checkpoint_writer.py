"""Checkpoints written by a thread, so that the training goes on meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .checkpoint import save_checkpoint

if TYPE_CHECKING:
    from torch import Tensor


class CheckpointWriter:
    """`save_checkpoint` in a thread, one checkpoint at a time; a context manager, whose end waits for the last.

    Each is whole or absent, as `save_checkpoint` says, and the older ones go only after it. An error of the thread,
    such as a full disk, is raised by the next `save`, `check` or `wait`.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._written: Future[Path] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        with suppress(*() if kind is None else (Exception,)):  # the error that ends the block is the one to be told
            self.wait()

    def save(
        self, run: Path, step: int, config: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]], keep: int
    ) -> None:
        """Takes copies of all tensors and begins to write them, once the checkpoint before is written.

        Copies from a GPU go to pinned memory, and the thread alone waits for them.
        """
        self.wait()
        copies = {
            name: {key: value.detach().to("cpu", non_blocking=True, copy=True) for key, value in named.items()}
            for name, named in tensors.items()
        }
        devices = {value.device for named in tensors.values() for value in named.values() if value.is_cuda}
        copied = [_mark(device) for device in devices]

        def write() -> Path:
            for event in copied:
                event.synchronize()
            return save_checkpoint(run, step, config, copies, keep)

        self._written = self._thread.submit(write)

    def check(self) -> None:
        """Raises the error of a checkpoint that could not be written; waits for nothing."""
        if self._written is not None and self._written.done():
            self.wait()

    def wait(self) -> None:
        """Returns once the checkpoint that was begun is written; raises its error where it could not be."""
        if self._written is not None:
            written, self._written = self._written, None
            written.result()


def _mark(device: torch.device) -> torch.cuda.Event:
    """An event on the device after all that it was given to do so far."""
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event
