"""Whether a training on a CPU is compiled: a long one tries its steps both ways before it begins."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from ..heads import head_named
from .execution import why_not_compiled
from .ranks import current
from .trainer import Trainer

if TYPE_CHECKING:
    import torch

    from ..data import Dataset
    from .config import TrainConfig

FEWEST = 2_000  # samples through the network that are worth a look at how long a step takes; the largest takes 1 s each
LONG = 20 * 60.0  # seconds of a training that is worth a trial: compiling takes a minute or two, and gains a fifth
ROUNDS, STEPS = 3, 3  # rounds of the trial, and the steps of each way in a round
GAIN = 0.97  # the most that a compiled step may take of the time of a step as written: less gain is noise


class Trial(NamedTuple):
    """What a trial has found. compiled: whether the training is to be compiled. seen: by what, in a line."""

    compiled: bool
    seen: str


def trial_of(config: TrainConfig, dataset: Dataset, device: torch.device, shown: bool) -> Trial | None:
    """Takes steps of two trainings that are thrown away, as written and compiled, in turns, and finds the faster way by
    the medians of their times.

    None where nothing is tried, and `compile` alone decides: it is not "auto", the device is no CPU, or torch.compile
    lacks something on it; several processes share the training; or it has less than FEWEST samples, or takes less than
    LONG as written.
    """
    draws = config.draws if head_named(config.head).takes_noise else 1
    samples = config.total_steps(len(dataset.train)) * config.batch * draws
    if config.compile != "auto" or device.type != "cpu" or current().count > 1 or samples < FEWEST:
        return None
    if why_not_compiled(device) is not None:
        return None
    written = Trainer(replace(config, compile="off"), dataset, {}, device)
    _seconds(written)  # a first step has more to do, once
    if min(_seconds(written) for _ in range(STEPS)) * written.total < LONG:
        return None
    if shown:
        told = "compiling the network, a minute or more, to see whether its steps are faster"
        print(told, file=sys.stderr, flush=True)
    compiled = Trainer(replace(config, compile="on"), dataset, {}, device)
    try:
        began = time.perf_counter()
        _seconds(compiled)
        making = time.perf_counter() - began
    except Exception as error:  # torch has many classes for what its compilers may meet
        return Trial(False, f"compiling failed ({' '.join(str(error).split())[:200]}): as written")
    seconds: dict[Trainer, list[float]] = {written: [], compiled: []}
    for _ in range(ROUNDS):
        for trainer, times in seconds.items():
            times += [_seconds(trainer) for _ in range(STEPS)]
    was, then = (median(times) for times in seconds.values())
    faster = then < GAIN * was
    seen = f"a step takes {was:.3g} s as written, {then:.3g} s compiled (in {making:.0f} s)"
    return Trial(faster, f"{seen}: {'compiled' if faster else 'as written'}")


def _seconds(trainer: Trainer) -> float:
    """What its next step takes of the time of this thread, which waits for no other: other programs on the machine make
    no short training long, and no way slower than the other."""
    began = time.thread_time()
    trainer.train_step()
    return time.thread_time() - began
