"""Early stopping: the best held-out number so far, kept as a checkpoint, and whether it has not fallen for long."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .checkpoint import EMA, TRIED, save_best

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .progress_log import Journal
    from .trainer import Trainer

_RECORDED = {"loss": "held_out_loss", "bits": "bits_per_dim"}
_CALLED = {"loss": "held-out loss", "bits": "bits per dimension"}


def since_best(numbers: Sequence[float]) -> int:
    """How many of the numbers come after the least of them, the first of equal ones; -1 of none."""
    return len(numbers) - 1 - numbers.index(min(numbers)) if numbers else -1


def is_over(trainer: Trainer, run: Path, journal: Journal) -> bool:
    """Whether the last `patience` held-out numbers were no better than one before them.

    All follows from the log, so a resumed training stops where one that was never interrupted does. A checkpoint whose
    number is the best so far is kept as RUN/best, as `fastblackout export` writes one.
    """
    by, patience = trainer.config.stop_by, trainer.config.patience
    found = [record for record in journal.records if _RECORDED[by] in record]
    numbers = [record[_RECORDED[by]] for record in found]
    later = since_best(numbers)
    if later == 0 and found[-1]["step"] == trainer.step:
        about = {name: value for name, value in trainer.description.items() if name not in ("run", TRIED)}
        save_best(run, trainer.step, about, {EMA: trainer.averaged.weights()})
    if later < patience or trainer.step == trainer.total:
        return later >= patience
    best = found[-1 - later]
    journal.say(
        f"step {trainer.step}: stopped, as the {_CALLED[by]} has not fallen {patience} times in a row; the best, "
        f"{best[_RECORDED[by]]:.4f} at step {best['step']}, is in {run / 'best'}"
    )
    return True
