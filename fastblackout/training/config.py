"""What a training run can be told, and what it does when told nothing."""

from __future__ import annotations

import numbers
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..data.sets import SETS

WEIGHTS = ("likelihood", "finite-time", "instantaneous", "energy", "uniform")
OF_SCORE = ("energy", "uniform")  # weights of an energy score, which is no bound of a likelihood
HEADS = (
    "mean",
    "implicit",
    "beta-binomial",
    "bayes-logistic",
    "negative-binomial",
    "categorical",
    "bayes-categorical",
)
PARAMETRIZATIONS = ("likelihood", "paper")
INPUTS = ("reference", "unit", "normalized")
TIMES = ("uniform", "early")
SCHEDULES = ("logit", "cosine", "linear")
NETWORKS = ("small", "mlp", "cifar10", "celeba64", "mnist")
COMPILE = ("auto", "on", "off")
PRECISIONS = ("auto", "fp32", "bf16", "tf32")
MOST_SCHEDULE_STEPS = 1_000_000  # a thousand times the paper's
MOST_THREADS = 4096  # OpenMP ends the process where the system cannot start as many threads as it asks for.
RESUMABLE = frozenset(
    {"steps", "epochs", "device", "threads", "log_every", "held_out_every", "sample_every", "checkpoint_every", "keep"}
    | {"bits_every", "tensorboard", "compile", "precision", "cuda_graph", "accumulate"}
)


@dataclass(frozen=True)
class TrainConfig:
    """The options of a training run, each explained in `HELP`; `preset` gives the defaults of a data set
    and of a head."""

    steps: int = 100_000
    epochs: int | None = None
    batch: int = 128
    accumulate: int = 1
    learning_rate: float = 2e-4
    warmup: int = 500
    decay: bool = False
    clip: float = 1.0
    ema: float = 0.9999
    dropout: float = 0.1
    flip: bool = False
    conditional: bool = False
    label_dropout: float = 0.1
    network: str = "small"
    channels: int = 32
    blocks: int = 1
    head: str = "mean"
    noise_channels: int = 4
    draws: int = 2
    components: int = 1
    weight: str = "likelihood"
    times: str = "early"
    parametrization: str = "likelihood"
    input: str = "normalized"
    schedule: str = "logit"
    schedule_steps: int = 1000
    t_end: float = 15.0
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    compile: str = "auto"
    precision: str = "auto"
    cuda_graph: bool = False
    log_every: int = 50
    held_out_every: int = 500
    bits_every: int = 0
    sample_every: int = 5000
    checkpoint_every: int = 1000
    keep: int = 2
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _typed(field.name, str(field.type), getattr(self, field.name)))
        for name in ("batch", "channels", "blocks", "schedule_steps", "log_every", "checkpoint_every", "keep"):
            _require(name, getattr(self, name) >= 1, "must be at least 1", getattr(self, name))
        for name in ("steps", "warmup", "threads", "held_out_every", "bits_every", "sample_every", "seed"):
            _require(name, getattr(self, name) >= 0, "must be at least 0", getattr(self, name))
        _require("noise_channels", 1 <= self.noise_channels <= 64, "must be in 1..64", self.noise_channels)
        _require("draws", 2 <= self.draws <= 8, "must be in 2..8", self.draws)
        _require("components", 1 <= self.components <= 3, "must be in 1..3", self.components)
        rule = f"must be in 1..{self.batch}, the batch"
        _require("accumulate", 1 <= self.accumulate <= self.batch, rule, self.accumulate)
        for name in ("learning_rate", "clip", "t_end"):
            _require(name, 0 < getattr(self, name) < float("inf"), "must be above 0 and finite", getattr(self, name))
        for name in ("ema", "dropout", "label_dropout"):
            _require(name, 0 <= getattr(self, name) < 1, "must be in [0, 1)", getattr(self, name))
        _require("epochs", self.epochs is None or self.epochs >= 1, "must be at least 1", self.epochs)
        _require("seed", self.seed < 1 << 64, "must be below 2^64", self.seed)
        for name, most in (("schedule_steps", MOST_SCHEDULE_STEPS), ("threads", MOST_THREADS)):
            _require(name, getattr(self, name) <= most, f"must be at most {most}", getattr(self, name))
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "seed" and isinstance(value, int):
                _require(field.name, value < 1 << 32, "must be below 2^32", value)
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            _require(name, value in choices, f"must be one of {', '.join(choices)}", repr(value))
        if self.head == "implicit":
            rule = f"of head implicit must be {' or '.join(OF_SCORE)}"
            _require("weight", self.weight in OF_SCORE, rule, self.weight)
        else:
            rule = f"energy belongs to head implicit, here head {self.head}"
            _require("weight", self.weight != "energy", rule, self.weight)
        of_heads = ("noise_channels", "implicit"), ("draws", "implicit"), ("parametrization", "mean")
        for name, head in (*of_heads, ("components", "bayes-logistic")):
            value = getattr(self, name)
            rule = f"belongs to head {head}, here head {self.head}"
            _require(name, self.head == head or value == getattr(TrainConfig, name), rule, value)

    def total_steps(self, samples: int) -> int:
        """How many steps the run has, on that many training samples."""
        return self.steps if self.epochs is None else -(-self.epochs * samples // self.batch)

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`. ValueError for a key that is missing or unknown; old runs lack those of heads."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict):
            raise ValueError(f"TrainConfig: keys: must be its fields, got {type(values).__name__}")
        if not _OF_HEADS & set(values):
            values = {**{name: getattr(cls, name) for name in _OF_HEADS}, **values}
        values = {**{name: getattr(cls, name) for name in _LATER}, "times": "uniform", **values}
        if set(values) != names:
            wrong = ", ".join(sorted(set(values) ^ names))
            raise ValueError(f"TrainConfig: keys: must be its fields, got a difference in {wrong}")
        return cls(**values)

    def resumed_with(self, given: dict[str, Any]) -> TrainConfig:
        """This run's configuration with the options given anew. ValueError for one that would make it another run."""
        for name, value in given.items():
            if name not in RESUMABLE and value != getattr(self, name):
                raise ValueError(f"train: {name}: a resumed run keeps {getattr(self, name)}, got {value}")
        if "steps" in given and "epochs" not in given:
            given = {**given, "epochs": None}
        new = replace(self, **given)
        if self.decay and (new.steps, new.epochs) != (self.steps, self.epochs):
            length = f"{self.steps} steps" if self.epochs is None else f"{self.epochs} epochs"
            asked = f"{new.steps} steps" if new.epochs is None else f"{new.epochs} epochs"
            advice = "train another with --out; a run with --no-decay can go on for as long as you like"
            rule = f"a resumed run whose learning rate decays keeps its length, {length} ({advice})"
            raise ValueError(f"train: steps: {rule}, got {asked}")
        return new


_OF_HEADS = {"head", "noise_channels", "draws"}
# What runs of before do not have; nor had they a choice of times, which were uniform.
_LATER = ("components", "bits_every", "tensorboard", "compile", "precision", "cuda_graph", "accumulate")

CHOICES = {
    "head": HEADS,
    "weight": WEIGHTS,
    "times": TIMES,
    "parametrization": PARAMETRIZATIONS,
    "input": INPUTS,
    "schedule": SCHEDULES,
    "network": NETWORKS,
    "compile": COMPILE,
    "precision": PRECISIONS,
}

PRESETS: dict[str, dict[str, Any]] = {name: known.preset for name, known in SETS.items()}
# What goes with a head; of implicit the schedule was chosen by measurements, which docs/training.md has.
OF_HEAD: dict[str, dict[str, Any]] = {
    "implicit": {"weight": "energy", "schedule": "cosine"},
    "beta-binomial": {"weight": "uniform", "schedule": "cosine"},
    "bayes-logistic": {"weight": "uniform", "schedule": "cosine"},
    "negative-binomial": {"weight": "uniform", "schedule": "cosine"},
    "categorical": {"weight": "uniform", "schedule": "cosine"},
    "bayes-categorical": {"weight": "uniform", "schedule": "cosine"},
}

# What goes with a table of counts where it is not given. Of rows of ten columns with long tails a beta-binomial head
# had the variances, the correlations and the zeros right after 2,000 steps; a mean head had halved variances.
OF_TABLE: dict[str, Any] = {
    "network": "mlp", "head": "beta-binomial", "steps": 10_000, "batch": 256, "decay": True,
    "times": "uniform",
}  # fmt: skip

HELP = {
    "steps": "training steps in all",
    "epochs": "instead of steps: passes over the training samples",
    "batch": "samples a step, of all processes together",
    "accumulate": "parts that a process takes its samples of a step in, to need less memory",
    "learning_rate": "Adam's step size",
    "warmup": "steps over which the learning rate rises from 0",
    "decay": "let the learning rate fall to 0 along a half cosine",
    "clip": "largest norm of the gradient",
    "ema": "largest decay of the weights' moving average; it starts as (1 + n) / (10 + n)",
    "dropout": "dropout inside the network's blocks",
    "flip": "mirror half of the training images left to right",
    "conditional": "train on the class labels too",
    "label_dropout": "share of labels hidden from a conditional network, for guidance",
    "network": "small (for a CPU), mlp (for tables), or one of the paper's",
    "channels": "channels of the small network; a quarter of the width of mlp",
    "blocks": "residual blocks a level of the small network; a third of those of mlp",
    "head": "mean: expected births, as in the paper; implicit: a joint draw; the others: laws of each pixel",
    "noise_channels": "channels of noise beside the image, head implicit",
    "draws": "joint draws that the network makes of an image in a step (2 to 8), head implicit",
    "components": "logistic laws that a pixel's prior is a mixture of (1 to 3), head bayes-logistic",
    "weight": "of each step's loss: likelihood; finite-time, instantaneous: the paper's; uniform; energy",
    "times": "which times to train at. early: every other one as the grid early lies; uniform",
    "parametrization": "of head mean. likelihood: births = (1 - p) max_count / 4 softplus; paper: softplus",
    "input": "how counts are centred and scaled for the network",
    "schedule": "survival probabilities of the forward process",
    "schedule_steps": "steps of the schedule, 1000 in the paper",
    "t_end": "end time of the logit schedule",
    "seed": "seed of every random draw",
    "device": "auto, cpu, cuda or cuda:N",
    "threads": "CPU threads; 0: as many as torch likes",
    "compile": "compile the network by torch.compile; auto: on a GPU, and on a CPU where a trial finds it faster",
    "precision": "of the network; auto: bf16 (mixed with float32) on a GPU that has it, else fp32",
    "cuda_graph": "replay each step as one CUDA graph, for small networks on a GPU",
    "log_every": "steps between lines of log.jsonl",
    "held_out_every": "take the held-out loss at the first end of an epoch after so many steps; 0: never",
    "bits_every": "take bits per dimension of 64 held-out samples at ends of epochs so many steps apart; 0: never",
    "sample_every": "steps between pictures of samples; 0: none",
    "checkpoint_every": "steps between checkpoints",
    "keep": "checkpoints to keep",
    "tensorboard": "write losses, speed and samples for TensorBoard too: tensorboard --logdir RUN shows them",
}


def preset(dataset: str, **given: Any) -> TrainConfig:
    """The configuration for a data set by name, with those of the head, and the options given in place of either."""
    known = {**PRESETS.get(dataset, {}), **given}
    return TrainConfig(**{**OF_HEAD.get(known.get("head", ""), {}), **known})


_KINDS: dict[str, tuple[type, type, str]] = {
    "int": (numbers.Integral, int, "an integer"),
    "int | None": (numbers.Integral, int, "an integer or None"),
    "float": (numbers.Real, float, "a number"),
    "bool": (bool, bool, "True or False"),
    "str": (str, str, "text"),
}


def _typed(name: str, kind: str, value: Any) -> Any:
    """The value of a field as what its annotation says. TypeError where it is something else."""
    wanted, made, rule = _KINDS[kind]
    if value is None and kind == "int | None":
        return None
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise TypeError(f"train: {name}: must be {rule}, got {value!r}")
    try:
        return made(value)
    except OverflowError:  # an integer too large for a float
        return float("inf")


def _require(name: str, good: bool, rule: str, value: Any) -> None:
    if not good:
        raise ValueError(f"train: {name}: {rule}, got {value}")
