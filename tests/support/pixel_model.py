"""A schedule, a fixed function in a network's place, and the samplers to run with them."""

from fastblackout.schedule.schedule import Schedule

SCHEDULE = Schedule.logit(steps=40, t_end=10.0)
OPTIONS = [
    {"sampler": "bridge"},
    {"sampler": "bridge", "rounding": "nearest"},
    {"sampler": "bridge", "attrition": 0.2},
    {"sampler": "tau-leap"},
    {"sampler": "tau-leap-rate"},
    {"sampler": "bridge", "grid": "index"},
    {"sampler": "lanl-2023"},
]


class PixelModel:
    """A fixed function of each pixel alone, by single float operations, so that batching cannot change a bit."""

    def __init__(self, max_count=255):
        self.max_count = max_count

    def center(self, k):
        return 0.5 * self.max_count * SCHEDULE.survival(k).p

    def scale(self, k):
        return 2.0 / self.max_count

    def gain(self, k):
        return self.max_count / 4 * SCHEDULE.survival(k).q

    def __call__(self, model_input, k, labels=None):
        shift = 0.0 if labels is None else labels.view(-1, 1, 1, 1).float() * 0.25
        return model_input * -1.5 + shift + 0.125
