"""What a training makes of its state now and then: held-out loss and bits, the loss curve, pictures of samples."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..atomic_files import own
from ..data import BatchOrder
from ..evaluation.charts import loss_curve
from ..evaluation.plots import sample_grid
from ..ground.extras import is_there
from .progress import Progress
from .progress_log import Journal
from .stopping import Stop
from .trainer import Trainer


class _CutShort(Exception):
    """Raised in the held-out evaluation or the sampling of pictures when a signal asks the training to stop."""


def look(trainer: Trainer, run: Path, journal: Journal, stop: Stop) -> None:
    """Make the held-out loss and bits, the loss curve and the samples that are due at this step and not there yet.

    This may take long, so a stop ends it at once, and the resumed run makes what is missing. Rank 0 does it, and the
    others wait for their next step.
    """
    config, order, step = trainer.config, trainer.order, trainer.step
    last = step == trainer.total
    if stop or step == 0 or not trainer.ranks.first:
        return

    def tick_of(part: Progress) -> Callable[[int], None]:
        def tick(pieces: int) -> None:
            part.update(pieces)
            if stop:
                raise _CutShort

        return tick

    with suppress(_CutShort):
        if due(trainer, config.held_out_every) and not journal.knows("held_out_loss", step):
            held_out = trainer.held_out
            with journal.part("held-out loss", len(held_out.x_0), "images") as part:
                loss = trainer.held_out_loss(tick_of(part))
            journal.judged(
                "held-out loss",
                f"{loss:.4f} (lower is better; without a network {held_out.constant_loss:.4f})",
                step=step,
                epoch=order.epochs_done(step),
                held_out_loss=loss,
                constant_loss=held_out.constant_loss,
                held_out_images=held_out.count,
                held_out_draws=len(held_out.x_0),
            )
        if due(trainer, config.bits_every) and not journal.knows("bits_per_dim", step):
            with journal.part("bits per dimension", trainer.bits.total, "draws") as part:
                bound = trainer.held_out_bits(tick_of(part))
            journal.judged(
                "bits per dimension",
                f"{bound.bits:.3f} +- {bound.monte_carlo_error:.3f} (lower is better)",
                step=step,
                epoch=order.epochs_done(step),
                bits_per_dim=bound.bits,
                bits_error=bound.monte_carlo_error,
                bits_images=len(trainer.bits.x_0),
            )
        if step % config.checkpoint_every == 0 or last:
            draw_losses(journal, run)
        picture = run / f"samples-{step:08d}.png"
        pictured = config.sample_every and not trainer.dataset.is_table
        if pictured and (step % config.sample_every == 0 or last):
            there = picture.exists()
            if not there:
                with journal.part(f"64 samples for {picture.name}", trainer.sample_steps, "steps") as part:
                    classes = trainer.batches.no_class if config.conditional else 1
                    sample_grid(trainer.samples(tick_of(part)), trainer.dataset.max_count, own(picture), classes)
            if not there or step > journal.begun_at:
                journal.picture(step, picture)


def due(trainer: Trainer, every: int) -> bool:
    """Whether a held-out number is taken at this step."""
    step = trainer.step
    return every > 0 and step > 0 and (step == trainer.total or _epoch_to_judge(trainer.order, step, every))


def draw_losses(journal: Journal, run: Path) -> None:
    """Draw the run's loss.png, where matplotlib is installed."""
    if is_there("matplotlib"):
        loss_curve(journal.records, own(run / "loss.png"))


def _epoch_to_judge(order: BatchOrder, step: int, every: int) -> bool:
    """Whether an epoch ends at this step, and a multiple of `every` steps was passed since the last epoch's end."""
    before = order.epochs_done(step - 1)
    last_end = -(-before * order.count // order.batch)
    return order.epochs_done(step) > before and step // every > last_end // every
