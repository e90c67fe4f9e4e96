"""Wrong values on a CUDA device: sticky flags the kernels set, and the context manager that reads them."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .choice import OPS

if TYPE_CHECKING:
    from torch import Tensor

# What each bit of a flag says, as the kernels set them.
RULES = {
    1: "counts: must be whole numbers in 0..max_count",
    2: "logits: must be finite in float32",
    4: "births: must be finite and at least 0",
    8: "probability or rate: must be in [0, 1], a rate finite and at least 0",
}
_lock = threading.Lock()
_flags: dict[Any, Tensor] = {}  # device: int32, one an op
_views: dict[tuple[Any, str], Tensor] = {}


def flag(op: str, device: Any) -> Tensor:
    """int32 (1,), the sticky flag of an op on a device. The same memory at every call: CUDA graphs may hold it."""
    view = _views.get((device, op))
    if view is not None:
        return view
    import torch

    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        # The flags would lie in the graph's memory, and each replay would clear them.
        raise ValueError(f"{op}: CUDA graph: an op must have run on {device} before a capture, got none")
    with _lock, torch.inference_mode(False):
        if device not in _flags:
            made = torch.zeros(len(OPS), dtype=torch.int32, device=device)
            _wait(device)  # once: other streams use them too
            _flags[device] = made
            _views.update({(device, name): _flags[device][i : i + 1] for i, name in enumerate(OPS)})
    return _views[device, op]


def _wait(device: Any) -> None:
    """For all streams of a device: reading a flag waits for the current one only."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


class check_values:
    """Within the block, wrong tensor values given to ops on CUDA devices raise ValueError, at its end or at `check()`.

        with fb.check_values():
            noised = fb.thin(x_0, alive, max_count=255)     # on a CUDA device

    Outside, an op on a CUDA device never waits for the device: NaN logits birth nothing, counts are clamped to
    0..max_count, probabilities to [0, 1], and a flag per op and device keeps what was wrong; entering the block clears
    the flags of the devices in use. On the CPU values are always checked, before anything is written.
    Raises ValueError naming op, argument, rule and device. If the block raises an error itself, that one stays.
    """

    def __enter__(self) -> check_values:
        for device, flags in list(_flags.items()):
            _wait(device)
            flags.zero_()
            _wait(device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.check()

    @staticmethod
    def check() -> None:
        """Waits for the devices in use, raises ValueError for what was wrong since the last look, and clears it."""
        wrong = []
        for device, flags in list(_flags.items()):
            _wait(device)
            seen = flags.tolist()
            if any(seen):
                flags.zero_()
                _wait(device)
            for op, bits in zip(OPS, seen, strict=True):
                rules = [rule for bit, rule in RULES.items() if bits & bit]
                wrong += [f"{op}: {rule}, got others on {device}" for rule in rules]
        if wrong:
            raise ValueError("; ".join(wrong))
