"""What several ranks do together, by torch.distributed: gloo between CPUs, NCCL between GPUs. How they join and end."""

from __future__ import annotations

import atexit
import datetime
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from .rank_watch import Watch, watch_of
from .ranks import Place, RankFailed, Single, current, place_of, working_with
from .stopping import Terminated

if TYPE_CHECKING:
    from torch import device, nn

    from .stopping import Stop

T = TypeVar("T")
# Between steps rank 0 may be writing or judging for as long as it takes: what ends a wait for a dead rank is the watch.
# In milliseconds the number must fit into 32 bits. Within a step ranks are apart by the time of compilations at most.
_NEVER, _A_STEP = datetime.timedelta(days=20), datetime.timedelta(minutes=30)
_joined: tuple[Single, Watch] | None = None  # once for a process


class Group(Single):
    """All ranks of a launch. Its calls must be made by all of them, in the same order."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        cuda = torch.cuda.is_available()
        if cuda and place.local < torch.cuda.device_count():  # else `device` says so, if GPUs are asked for
            torch.cuda.set_device(place.local)
        if not dist.is_initialized():  # a program of the user's may have done it
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_A_STEP)
            atexit.register(dist.destroy_process_group)  # its threads keep the interpreter from ending
        if (dist.get_rank(), dist.get_world_size()) != (place.rank, place.count):
            raise ValueError(f"ranks: RANK, WORLD_SIZE: must agree with torch's process group, got {place}")
        words = dist.new_group(backend="gloo", timeout=_NEVER)
        assert isinstance(words, dist.ProcessGroup)  # a rank that is no member would get another object
        self._words = words  # for all that is no gradient

    def wait(self) -> None:
        # Not the barrier of torch, whose call with NCCL waits on a GPU.
        dist.all_reduce(torch.zeros(()), group=self._words)

    def from_first(self, make: Callable[[], T]) -> T:
        box: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(box, src=0, group=self._words)
        made: T = box[0]
        return made

    def first_of_host_first(self, make: Callable[[], T]) -> T:
        if self.place.local == 0:
            made = make()
            self.wait()
            return made
        self.wait()
        return make()

    def same(self, what: str, values: dict[str, Any]) -> None:
        first, *others = self._all(values)
        for rank, other in enumerate(others, 1):
            for name, value in other.items():
                if value != first[name]:
                    rule = f"must be the same on all ranks, got {first[name]!r} on 0, {value!r} on {rank}"
                    raise ValueError(f"{what}: {name}: {rule}")

    def agree(self, stop: Stop) -> bool:
        flag = torch.tensor(stop.signal)
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._words)
        if agreed := int(flag):
            stop.signal = agreed
        return agreed != 0  # a signal that came meanwhile is one for the next time, when all ranks know it

    def sums(self, values: list[float]) -> list[float]:
        totals = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(totals, group=self._words)
        found: list[float] = totals.tolist()
        return found

    def map(self, function: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
        every = list(items)
        own = [function(item) for item in every[self.place.share(len(every))]]
        return [result for part in self._all(own) for result in part]

    def gather(self, parts: Iterable[Any]) -> Iterator[Any]:
        if not self.first:
            # Rank 0 is busy with its own part for as long, and does not listen yet.
            for part in [*parts, None]:
                dist.send_object_list([part], dst=0, group=self._words)
            return
        yield from parts
        for rank in range(1, self.count):
            while (part := self._received(rank)) is not None:
                yield part

    def device(self, chosen: device) -> device:
        if chosen.type != "cuda":
            return chosen
        if chosen.index is not None:
            rule = f"must be auto, cpu or cuda in {self.count} processes, each of which takes the GPU of its local rank"
            raise ValueError(f"device: {rule}, got {str(chosen)!r}")
        if self.place.local >= (there := torch.cuda.device_count()):
            rule = "must be cpu where a host has more processes than GPUs"
            raise ValueError(f"device: {rule}, got {str(chosen)!r} for local rank {self.place.local} of {there} GPUs")
        return torch.device("cuda", self.place.local)

    def replica(self, module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module)

    def no_sync(self, replica: nn.Module) -> AbstractContextManager[Any]:
        assert isinstance(replica, DistributedDataParallel)
        context: AbstractContextManager[Any] = replica.no_sync()
        return context

    def _all(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self._words)
        return values

    def _received(self, rank: int) -> Any:
        box: list[Any] = [None]
        dist.recv_object_list(box, src=rank, group=self._words)
        return box[0]


@contextmanager
def together(name: str) -> Iterator[Single]:
    """Joins all ranks of a launch, which then work together, and waits at its end until all are done.

    A process that was started alone gets itself, and nothing is joined.

    name: what stands before a message about another rank. Where a rank raises an error or dies, all others end within a
    minute: by RankFailed with the number of the rank, or where a call keeps them, by the end of the process, status 1.
    """
    place = place_of()
    if place.count == 1 or current().count > 1:
        yield current()
        return
    group, watch = _join(place, name)
    try:
        watch.at_work(True)
        with working_with(group):
            yield group
        group.wait()
        watch.at_work(False)
    except BaseException as error:
        stopped = isinstance(error, (KeyboardInterrupt, Terminated))
        text = " ".join(str(error).split()) or ("stopped" if stopped else type(error).__name__)
        # A rank that is gone makes calls of torch.distributed fail, and torchrun then ends all the others by SIGTERM.
        theirs = stopped or isinstance(error, RuntimeError)
        if failure := watch.verdict("stopped" if stopped else "failed", text, theirs):
            with suppress(ValueError):  # not the main thread
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's; what is being left is left whole
            raise RankFailed(str(failure), watch.speaks) from error
        raise


def _join(place: Place, name: str) -> tuple[Single, Watch]:
    global _joined
    if _joined is None:
        try:
            group = Group(place)
            _joined = group, watch_of(group, name)
        except (RuntimeError, OSError) as error:
            what = f"rank {place.rank}: cannot join the other {place.count - 1} of MASTER_ADDR, MASTER_PORT"
            raise RankFailed(f"{what}: {' '.join(str(error).split())[:300]}", shown=True) from error
    return _joined
