"""Which samples of a step's batch a rank takes, and in which parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .single import Place, Single

if TYPE_CHECKING:
    from ..config import TrainConfig


def share_of_batch(ranks: Single, config: TrainConfig) -> slice:
    """The rank's samples of a batch. ValueError unless all ranks have a sample for each of the parts they take."""
    least = ranks.count * config.accumulate
    if config.batch < least:
        rule = f"must be at least {least}, {ranks.count} processes times accumulate {config.accumulate}"
        raise ValueError(f"train: batch: {rule}, got {config.batch}")
    return ranks.place.share(config.batch)


def parts_of_share(samples: int, accumulate: int) -> list[slice]:
    """The samples of a share in so many parts, of equal length or nearly so."""
    return [Place(part, accumulate).share(samples) for part in range(accumulate)]
