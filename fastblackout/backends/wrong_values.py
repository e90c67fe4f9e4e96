"""Wrong values on a CUDA device: sticky flags that the kernels set, and the context manager that reads them."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..ground.persistent import persistent

if TYPE_CHECKING:
    from torch import Tensor

# The rule that each bit of an op's flag stands for, as the kernels set them.
RULES = {
    1: "counts: must be whole numbers in 0..max_count",
    2: "logits: must be finite in float32",
    4: "births: must be finite and at least 0",
    8: "probability or rate: must be in [0, 1] with p + q = 1 within 1e-9, a rate finite and at least 0",
    16: "gain, weight, center, scale, mean, std, shape or key: must be finite, a gain, std or scale of draws at least "
    "0 (a gain of the loss and a shape: above 0), the key's first_sample + samples at most 2^32, its call below",
}
# Names of methods that take steps k. Their flag is 1 where a step is out of range (note_steps).
STEPS = (
    *(f"Schedule.{name}" for name in ("survival", "bridge", "bridge_with_attrition", "leap", "weight")),
    *("BlackoutModel", *(f"BlackoutModel.{name}" for name in ("center", "scale", "gain"))),
)
STEP_RULE = "k: must be a step of the schedule (after 0 for k_t and a weight), or a time in [0, 1]; k_s below k_t"
_MOST = 64  # more than there are names
_places: dict[str, int] = {}  # each name's place among the flags of a device
_lock = threading.Lock()
_flags: dict[Any, Tensor] = {}  # for each device an int32 for each name
_views: dict[Any, tuple[Tensor, ...]] = {}  # for each device its flags, one by one


def flag(op: str, device: Any) -> Tensor:
    """The sticky flag of an op on a device, int32 (1,).

    It is the same memory at every call: CUDA graphs may hold it.
    """
    place, views = _places.get(op), _views.get(device)
    if place is not None and views is not None:
        return views[place]
    import torch

    def make() -> tuple[Tensor, tuple[Tensor, ...]]:
        flags = torch.zeros(_MOST, dtype=torch.int32, device=device)
        return flags, flags.split(1)

    with _lock:
        if device not in _flags:
            _flags[device], _views[device] = persistent(op, "an op", device, make)
        return _views[device][_places.setdefault(op, len(_places))]


def note_steps(op: str, given: Tensor, taken: Tensor) -> None:
    """Flag steps on a device that were clamped: three small launches, and nothing waits for them."""
    flag(op, given.device).bitwise_or_((given != taken).any())


def _wait(device: Any) -> None:
    """Wait for all streams of a device: reading a flag waits for the current one only."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


class check_values:
    """A block in which wrong values of tensors on CUDA devices raise ValueError.

    The error comes at the end of the block or at `check()`. It names op, argument, rule and device. If the block raises
    an error itself, that one stays. On the CPU, values are always checked, before anything is written.

    Raises
    ------
    ValueError
        At the end of the block, if a kernel met a wrong value.

    Notes
    -----
    Outside such a block, an op on a CUDA device never waits for the device. Wrong values are then used as follows:

    - NaN logits birth nothing.
    - Counts are clamped to 0..max_count, probabilities to [0, 1], steps k to 1..steps of the schedule.
    - Where p + q is not 1, q is taken for 1 - p.
    - A wrong gain makes a loss NaN. A wrong shape makes a draw NaN, or counts as 1 where the draw is a whole number.
    - Other wrong numbers are used as they are.

    One flag for each op and device keeps what was wrong. Entering the block clears the flags of the devices in use.

    Where a schedule is traced (torch.compile, torch.func), steps are clamped and no flag is set.

    Examples
    --------
    On a CUDA device::

        with fb.check_values():
            noised = fb.thin(x_0, alive, max_count=255)
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
        """Raise what was wrong since the last look, and clear it.

        It waits for the devices in use.

        Raises
        ------
        ValueError
            If a kernel met a wrong value.
        """
        wrong = []
        for device, flags in list(_flags.items()):
            _wait(device)
            seen = flags.tolist()
            if any(seen):
                flags.zero_()
                _wait(device)
            for op, place in _places.items():
                known = {1: STEP_RULE} if op in STEPS else RULES
                rules = [rule for bit, rule in known.items() if seen[place] & bit]
                wrong += [f"{op}: {rule}, got others on {device}" for rule in rules]
        if wrong:
            raise ValueError("; ".join(wrong))
