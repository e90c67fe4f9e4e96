"""Several processes at one training, sampling or evaluation, as torchrun and `accelerate launch` start them: ranks.

Which of them this one is, by the variables that torchrun sets; what they do together, for a process that is alone; and
which of them tells the user of an error. rank_group.py joins several.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import device, nn

    from .config import TrainConfig
    from .stopping import Stop

T = TypeVar("T")
# What torchrun and `accelerate launch` set for every process they start.
_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """A process's place among `count` of them: `rank` in 0..count - 1, and `local`, its number on its own host."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is rank 0, the one that writes files and tells the user how far the work is."""
        return self.rank == 0

    def share(self, total: int, unit: int = 1) -> slice:
        """The rank's part of 0..total - 1: contiguous, in the order of the ranks, of lengths that differ by 1 at most.

        unit: in whole pieces of so many, the last perhaps shorter, wherever there is a piece for every rank.

            >>> from fastblackout.training.ranks import Place
            >>> [Place(rank, 3).share(8) for rank in range(3)]
            [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        unit = unit if total >= unit * self.count else 1
        pieces = -(-total // unit)
        low, high = (-(-pieces * rank // self.count) * unit for rank in (self.rank, self.rank + 1))
        return slice(min(low, total), min(high, total))


def place_of(environment: Mapping[str, str] = os.environ) -> Place:
    """The place of this process; one process alone without the variable WORLD_SIZE, or where it is 1.

    Raises ValueError where another of the variables is missing, or not a number in its range.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return Place()
    if missing := [name for name in _NEEDED if not environment.get(name)]:
        rule = (
            f"must be set where WORLD_SIZE is {environment['WORLD_SIZE']}, as torchrun sets it, or WORLD_SIZE be unset"
        )
        raise ValueError(f"ranks: {', '.join(missing)}: {rule}, got none")
    count = _number(environment, "WORLD_SIZE", 1, 1 << 20)
    _number(environment, "MASTER_PORT", 1, 1 << 16)  # torch's own error names nothing
    return Place(_number(environment, "RANK", 0, count), count, _number(environment, "LOCAL_RANK", 0, count))


def _number(environment: Mapping[str, str], name: str, low: int, end: int) -> int:
    text = environment[name]
    if not (text.isascii() and text.isdecimal() and low <= int(text) < end):
        raise ValueError(f"ranks: {name}: must be an integer in {low}..{end - 1}, got {text!r}")
    return int(text)


class Single:
    """What ranks do together, for a process that is alone: nothing is sent, and torch.distributed is not used.

    `rank_group.Group` is the same for several.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.rank, self.count, self.first = place.rank, place.count, place.first

    def wait(self) -> None:
        """Waits until all ranks are here, for as long as they need."""

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns on rank 0, on every rank; it is not called on the others."""
        return make()

    def first_of_host_first(self, make: Callable[[], T]) -> T:
        """What `make` returns, which is called on the first rank of every host, and then on the others."""
        return make()

    def same(self, what: str, values: dict[str, Any]) -> None:
        """ValueError, on every rank, unless all have the same values by the same names."""

    def agree(self, stop: Stop) -> bool:
        """Whether `stop` is set on any rank, which then sets it on all. Waits for all, for as long as they need."""
        return bool(stop)

    def sums(self, values: list[float]) -> list[float]:
        """The sum of each number over all ranks, on every rank."""
        return values

    def map(self, function: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
        """As the built-in map: each rank takes its share of the items, and every rank gets all results."""
        return list(map(function, items))

    def gather(self, parts: Iterable[Any]) -> Iterator[Any]:
        """On rank 0 its own parts, then rank 1's and so on; on the others nothing, once all theirs are sent."""
        return iter(parts)

    def device(self, chosen: device) -> device:
        """The device of this rank where `chosen` was asked for: of several GPUs each process takes its own."""
        return chosen

    def replica(self, module: nn.Module) -> nn.Module:
        """What is called in place of a module so that its gradients are the means over all ranks."""
        return module

    def no_sync(self, replica: nn.Module) -> AbstractContextManager[Any]:
        """Inside it the gradients of a replica stay the rank's own, to be added to the gradients of the next pass."""
        return nullcontext()


def share_of_batch(ranks: Single, config: TrainConfig) -> slice:
    """The rank's samples of a batch. ValueError unless all ranks have a sample for each of the parts they take."""
    least = ranks.count * config.accumulate
    if config.batch < least:
        rule = f"must be at least {least}, {ranks.count} processes times accumulate {config.accumulate}"
        raise ValueError(f"train: batch: {rule}, got {config.batch}")
    return ranks.place.share(config.batch)


_TO_SPEAK = 3.0  # seconds
_current = Single(Place())
_joined = False  # whether this process has worked with others


class RankFailed(RuntimeError):
    """Another rank has failed, and this one ends with it; `shown`: whether it is this one that tells the user."""

    def __init__(self, failure: str, shown: bool) -> None:
        super().__init__(failure)
        self.shown = shown


def current() -> Single:
    """The ranks that this process works with: inside `rank_group.together` those of its launch, else itself alone."""
    return _current


@contextmanager
def working_with(group: Single) -> Iterator[None]:
    """Inside it these are the current ranks."""
    global _current, _joined
    alone, _current, _joined = _current, group, True
    try:
        yield
    finally:
        _current = alone


def speaks(error: BaseException | None = None) -> bool:
    """Whether this process tells the user of an error: of several on one host the first does, as all have the same."""
    if isinstance(error, RankFailed):
        return error.shown
    try:
        return place_of().local == 0
    except ValueError:
        return True


def let_first_speak() -> None:
    """Where this process is silent about an error that all have: time for the one that speaks, before torchrun ends it,
    as it does when any process has ended with an error."""
    if not speaks():
        time.sleep(_TO_SPEAK)


def end_process(status: int, stopped: bool = False) -> int:
    """The exit status, for success and for a process alone that was not stopped by a signal. Else it ends here and now.

    The interpreter's own end would wait for calls of torch.distributed that ranks which are gone cannot answer, and for
    threads and processes of a compiler.
    """
    if status and (_joined or stopped):
        let_first_speak()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # a closed pipe
                stream.flush()
        os._exit(status)
    return status
