"""Samplers, losses and bounds with a model, schedule, labels or shape of the wrong kind: a named error, nothing runs.

A model inside another module is found there.
"""

import datetime

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.blackout.losses import blackout_loss
from fastblackout.models import NetworkConfig, ema_of
from fastblackout.sampling.sampler import sample_in_batches
from support.helpers import assert_named, by_day

SCHEDULE = fb.Schedule.logit(20, 8.0)
SHAPE = (3, 1, 4, 4)
X_0 = torch.arange(48, dtype=torch.uint8).view(SHAPE) % 9
K = torch.tensor([1, 7, 20])
PROCESS = fb.Uniform(9)
RNG = fb.Philox(3)


def make_model(classes=None):
    torch.manual_seed(0)
    size = {"shape": SHAPE[1:], "channels": 8, "blocks": 1, "num_classes": classes}
    return BlackoutModel(NetworkConfig("small", size).build(), SCHEDULE, max_count=8)


class Silent(BlackoutModel):
    """A model that must not be asked."""

    def __init__(self):
        super().__init__(torch.nn.Identity(), SCHEDULE, max_count=8)

    def forward(self, *arguments):
        raise AssertionError("the model ran")


def silent(*arguments):
    raise AssertionError("the model ran")


CALLS = {  # each with a good argument for each one that is needed
    "sample": (fb.sample, {"shape": SHAPE, "steps": 2}),
    "sample in batches": (lambda **given: list(sample_in_batches(**given)), {"shape": SHAPE, "batch": 2, "steps": 2}),
    "bits_per_dim": (fb.bits_per_dim, {"x_0": X_0, "steps": 2}),
    "blackout_loss": (blackout_loss, {"x_0": X_0, "k": K, "weight": "likelihood"}),
    "process_bits_per_dim": (fb.process_bits_per_dim, {"process": PROCESS, "rates": silent, "x_0": X_0, "end": 1.0}),
    "sampler_bits_per_dim": (
        fb.sampler_bits_per_dim, {"process": PROCESS, "model": silent, "x_0": X_0, "times": [1.0, 0.0]},
    ),
    "train": (fb.train, {"dataset": None, "out": "nowhere"}),
}  # fmt: skip


def call(op, **change):
    function, given = CALLS[op]
    of_model = {"model": Silent(), "schedule": SCHEDULE} if op in ALL else {}
    function(**{**of_model, **({} if op == "train" else {"rng": RNG}), **given, **change})


NO_GAIN = torch.nn.Linear(2, 2)
HALVES = {"max_count": 2.5, "center": silent, "scale": silent, "gain": silent, "__call__": silent}
MODELS = [(model, TypeError) for model in (None, "model", NO_GAIN, AveragedModel(NO_GAIN), BlackoutModel)]
MODELS += [(type("Halves", (), HALVES)(), TypeError)]
SCHEDULES = [(1000, TypeError), (SCHEDULE.p, TypeError), (None, TypeError), (fb.Schedule.logit(30, 8.0), ValueError)]
LABELS = [(wrong, TypeError) for wrong in (1.0, "1", True, [0, 1.5, 2], [[0], 1], np.ones(3), torch.ones(3) > 0)]
LABELS += [(torch.arange(4), ValueError), ([0, 1], ValueError), (np.zeros((3, 1), int), ValueError)]
SHAPES = [(3, TypeError), ("3x1", TypeError), ((3, 1.0, 4, 4), TypeError), ((3, None), TypeError), ((3,), ValueError)]
SAMPLE, BOUNDS = ("sample", "sample in batches"), ("process_bits_per_dim", "sampler_bits_per_dim")
ALL = (*SAMPLE, "bits_per_dim", "blackout_loss")
TABLE = [
    *((op, "model", *one) for op in ALL for one in MODELS),
    *((op, "schedule", *one) for op in ALL for one in SCHEDULES),
    *((op, "labels", *one) for op in ALL for one in LABELS),
    *((op, "shape", *one) for op in SAMPLE for one in SHAPES),
    *((op, "rng", value, TypeError) for op in ALL[:3] for value in (1.5, "seed")),
    ("sample", "sampler", ["bridge"], ValueError),
    ("sample", "sampler", None, ValueError),
    ("sample", "rounding", "up", ValueError),
    ("sample", "attrition", "a", TypeError),
    ("sample", "attrition", torch.zeros(3), TypeError),
    ("sample", "guidance", "a", TypeError),
    ("sample", "guidance", [0.5, None, 0], TypeError),
    ("sample", "guidance", [0.5, 0], ValueError),
    ("sample", "grid", 3, ValueError),
    ("sample", "callback", 3, TypeError),
    ("sample", "cuda_graph", "yes", TypeError),
    ("sample", "start", [0], TypeError),
    ("sample", "start", torch.zeros(SHAPE, dtype=torch.complex64), TypeError),
    ("sample", "last_step", "median", ValueError),
    ("sample", "last_step", 1, ValueError),
    ("sample in batches", "batch", 2.5, TypeError),
    ("sample in batches", "batch", 0, ValueError),
    *((op, "process", value, TypeError) for op in BOUNDS for value in (9, None)),
    *(("process_bits_per_dim", "rates", value, TypeError) for value in (None, torch.ones(3))),
    *(("process_bits_per_dim", "end", value, TypeError) for value in (None, "1", torch.ones(2))),
    *(("process_bits_per_dim", "end", value, ValueError) for value in (0.0, -1.0, float("nan"))),
    *(("sampler_bits_per_dim", "model", value, TypeError) for value in (None, "model")),
    *(("sampler_bits_per_dim", "times", value, TypeError) for value in (None, 3, [1.0, None], "ab")),
    ("train", "dataset", [1, 2], TypeError),
    ("train", "dataset", "digits", ValueError),  # a name is a file
]


@pytest.mark.parametrize(("op", "argument", "value", "error"), TABLE)
def test_a_named_error_before_anything_runs(op, argument, value, error):
    assert_named(lambda: call(op, **{argument: value}), error, f"{op.split()[0]}: {argument}: ", "")


def test_more_named_errors():
    mask = [True] * 16
    assert_named(lambda: call("sample", known=X_0, mask=mask), TypeError, "sample: mask: must be a bool tensor", "list")
    assert_named(
        lambda: BlackoutModel(NO_GAIN, "logit", 255), TypeError, "BlackoutModel: schedule: must be a Sch", "str"
    )
    data = fb.data.load("digits")
    assert_named(lambda: call("train", dataset=data, config={"steps": 3}), TypeError, "train: config: ", "dict")


@pytest.fixture(scope="module")
def distributed(tmp_path_factory):
    """A process group of one."""
    where = tmp_path_factory.mktemp("group") / "store"
    timeout = datetime.timedelta(seconds=30)
    torch.distributed.init_process_group("gloo", init_method=f"file://{where}", rank=0, world_size=1, timeout=timeout)
    yield
    torch.distributed.destroy_process_group()


WRAPPERS = {
    "DistributedDataParallel": torch.nn.parallel.DistributedDataParallel,
    "DataParallel": torch.nn.DataParallel,
    "AveragedModel": AveragedModel,
    "ModelEMA": ema_of,
    "torch.compile": lambda model: torch.compile(model, backend="eager"),
    "compiled and distributed": lambda model: torch.nn.parallel.DistributedDataParallel(
        torch.compile(model, backend="eager")
    ),
}


@pytest.mark.parametrize("name", by_day(WRAPPERS, *(name for name in WRAPPERS if name != "torch.compile")))
def test_a_model_inside_another_module(name, distributed):
    """The same draws and numbers as from the bare model, and the wrapper is what is called."""
    model, labels = make_model(classes=3), torch.arange(3)
    wrapped, called = WRAPPERS[name](model), []
    wrapped.register_forward_hook(lambda *_: called.append(1))
    wrapped.train()

    def results(model):
        yield fb.sample(model, SCHEDULE, SHAPE, 3, rng=RNG, labels=labels, guidance=0.5)
        yield fb.sample(model, SCHEDULE, SHAPE, 3, rng=RNG, labels=labels, cuda_graph=True)
        how = {"rng": RNG, "labels": labels, "steps": 2, "draws": 2, "repeats": 2}
        yield torch.tensor([bound.bits for bound in fb.bits_per_dim(model, SCHEDULE, X_0, **how)])
        yield blackout_loss(model.eval(), SCHEDULE, X_0, K, RNG, "likelihood", labels).detach()
        model.train()

    for found, expected in zip(results(wrapped), results(model), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert called and wrapped.training


@pytest.mark.parametrize("op", ALL)
def test_labels_of_classes_that_the_model_does_not_have(op, monkeypatch):
    """By the number of classes that the network says, which may be none; so does a model inside another module."""
    monkeypatch.setattr(BlackoutModel, "forward", silent)
    for classes, labels, rule in (
        (None, [2, 0, 1], r"must be None for a model without classes, got \[2, 0, 1\]$"),
        (3, [2, 0, 4], r"must be in 0\.\.3 \(3: no class\), got 4$"),
        (3, [2, -1, 3], r"must be in 0\.\.3 \(3: no class\), got -1$"),
    ):
        model = make_model(classes)
        for one in (model, AveragedModel(model)):
            with pytest.raises(ValueError, match=f"^{op.split()[0]}: labels: {rule}"):
                call(op, model=one, labels=torch.tensor(labels))


def test_labels_of_classes_that_a_model_itself_counts(monkeypatch):
    """Where its network counts none, as one of another program may be."""
    monkeypatch.setattr(BlackoutModel, "forward", silent)
    model = make_model(classes=3)
    model.network, model.num_classes = torch.nn.Linear(1, 1), 3
    with pytest.raises(ValueError, match=r"^sample: labels: must be in 0\.\.3 \(3: no class\), got 9$"):
        fb.sample(model, SCHEDULE, SHAPE, 3, rng=RNG, labels=torch.tensor([0, 9, 1]))


def test_a_schedule_equal_to_the_model_s_is_taken():
    again = fb.Schedule.from_survival(fb.Prob(SCHEDULE.p, SCHEDULE.q))
    model = make_model()
    assert torch.equal(*(fb.sample(model, one, SHAPE, 3, rng=RNG) for one in (SCHEDULE, again)))
