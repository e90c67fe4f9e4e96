"""What training steps draw, recorded: counts after flips, times, labels after some are hidden, births and noise."""

from contextlib import contextmanager

import fastblackout.blackout.losses as loss
import fastblackout.training.trainer as trainer
from fastblackout.blackout import BlackoutModel


@contextmanager
def recorded():
    """A dictionary of lists of arrays, one for each call within the block."""
    found = {name: [] for name in ("x_0", "k", "labels", "births", "noise")}
    blackout_loss, thin, draw_noise = trainer.blackout_loss, loss.thin, BlackoutModel.draw_noise

    def keep(name, tensor):
        found[name].append(tensor.detach().cpu().numpy().copy())

    def recording_loss(model, schedule, x_0, k, rng, weight, labels, *more):
        keep("x_0", x_0)
        keep("k", k)
        if labels is not None:
            keep("labels", labels)
        return blackout_loss(model, schedule, x_0, k, rng, weight, labels, *more)

    def recording_thin(*arguments, **options):
        noised = thin(*arguments, **options)
        keep("births", noised.births)
        return noised

    def recording_noise(self, like, rng):
        noise = draw_noise(self, like, rng)
        keep("noise", noise)
        return noise

    trainer.blackout_loss, loss.thin, BlackoutModel.draw_noise = recording_loss, recording_thin, recording_noise
    try:
        yield found
    finally:
        trainer.blackout_loss, loss.thin, BlackoutModel.draw_noise = blackout_loss, thin, draw_noise
