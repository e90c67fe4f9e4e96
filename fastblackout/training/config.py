"""What a training run can be told, and what it does when told nothing."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..data.sets import SETS
from ..heads import HEADS

WEIGHTS = ("likelihood", "finite-time", "instantaneous", "energy", "uniform")
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

_Rule = tuple[Callable[[Any], bool], str]


def _least(least: int) -> _Rule:
    return lambda value: value >= least, f"must be at least {least}"


def _below(power: int) -> _Rule:
    return lambda value: value < 1 << power, f"must be below 2^{power}"


def _within(low: int, high: int) -> _Rule:
    return lambda value: low <= value <= high, f"must be in {low}..{high}"


def _whole(least: int, most: int | None = None) -> tuple[_Rule, ...]:
    """Of a number of things."""
    if most is None:
        return _least(least), _below(32)
    return _least(least), (lambda value: value <= most, f"must be at most {most}")


_POSITIVE: _Rule = (lambda value: 0 < value < float("inf"), "must be above 0 and finite")
_SHARE: _Rule = (lambda value: 0 <= value < 1, "must be in [0, 1)")


def _option(default: Any, about: str, *rules: _Rule, choices: Collection[str] = ()) -> Any:
    """A field from which its check and its option of the command line follow."""
    return field(default=default, metadata={"help": about, "rules": rules, "choices": choices})


@dataclass(frozen=True)
class TrainConfig:
    """The options of a training run; `preset` gives the defaults of a data set and of a head."""

    steps: int = _option(100_000, "Train for N steps.", *_whole(0))
    epochs: int | None = _option(None, "Train for N passes over the training samples, instead of --steps.", *_whole(1))
    batch: int = _option(128, "A step takes N samples, of all processes together.", *_whole(1))
    accumulate: int = _option(1, "A process takes its samples of a step in N parts, to need less memory.")
    learning_rate: float = _option(2e-4, "The step size of Adam is X.", _POSITIVE)
    warmup: int = _option(500, "The learning rate rises from 0 over the first N steps.", *_whole(0))
    decay: bool = _option(False, "Let the learning rate fall to 0 along a half cosine.")
    clip: float = _option(1.0, "Shrink gradients whose norm is above X.", _POSITIVE)
    ema: float = _option(
        0.9999, "The moving average of the weights decays by X at most; at step n by (1 + n) / (10 + n).", _SHARE
    )
    dropout: float = _option(0.1, "Drop a share X of the values inside the network's blocks.", _SHARE)
    flip: bool = _option(False, "Mirror half of the training images left to right.")
    conditional: bool = _option(False, "Train on the class labels too, to draw samples of one class.")
    label_dropout: float = _option(
        0.1, "Hide a share X of the labels from a conditional network, for guidance.", _SHARE
    )
    network: str = _option("small", "small: for a CPU; mlp: for tables; the others: the paper's.", choices=NETWORKS)
    channels: int = _option(32, "The small network has N channels. The width of mlp is 4 N.", *_whole(1))
    blocks: int = _option(1, "The small network has N residual blocks a level, mlp has 3 N.", *_whole(1))
    head: str = _option(
        "mean",
        "What the network gives. mean: expected births, as in the paper; implicit: a joint draw; the others: laws.",
        choices=HEADS,
    )
    noise_channels: int = _option(4, "Put N channels of noise beside the image, with head implicit.", _within(1, 64))
    draws: int = _option(
        2, "Let the network make N joint draws of an image in a step (2 to 8), with head implicit.", _within(2, 8)
    )
    components: int = _option(
        1, "Mix N logistic laws (1 to 3) to the prior of a pixel, with head bayes-logistic.", _within(1, 3)
    )
    weight: str = _option(
        "likelihood",
        "How the loss weighs the times. finite-time, instantaneous: the paper's; energy: of head implicit.",
        choices=WEIGHTS,
    )
    times: str = _option(
        "early",
        "Which times to train at. early: every other one as the grid early lies; uniform: all alike.",
        choices=TIMES,
    )
    parametrization: str = _option(
        "likelihood",
        "Births with head mean. likelihood: (1 - p) max_count / 4 softplus; paper: softplus.",
        choices=PARAMETRIZATIONS,
    )
    input: str = _option("normalized", "How counts are centred and scaled for the network.", choices=INPUTS)
    schedule: str = _option("logit", "The survival probabilities of the forward process.", choices=SCHEDULES)
    schedule_steps: int = _option(
        1000, "The schedule has N steps; the paper's has 1000.", *_whole(1, MOST_SCHEDULE_STEPS)
    )
    t_end: float = _option(15.0, "The logit schedule ends at time X.", _POSITIVE)
    seed: int = _option(0, "The seed of every random draw.", _least(0), _below(64))
    device: str = _option("auto", "auto, cpu, cuda or cuda:N. auto: a GPU where its kernels run, else the CPU.")
    threads: int = _option(0, "Let torch use N CPU threads; 0: as many as it likes.", *_whole(0, MOST_THREADS))
    compile: str = _option(
        "auto",
        "Compile the network by torch.compile. auto: on a GPU, and on a CPU where a trial finds it faster.",
        choices=COMPILE,
    )
    precision: str = _option(
        "auto",
        "Precision of the network. auto: bf16 (mixed with float32) on a GPU that has it, else fp32.",
        choices=PRECISIONS,
    )
    cuda_graph: bool = _option(False, "Replay each step as one CUDA graph, for small networks on a GPU.")
    log_every: int = _option(50, "Write a line of losses into log.jsonl every N steps.", *_whole(1))
    held_out_every: int = _option(
        500, "Take the held-out loss at ends of epochs, N steps apart or more; 0: never.", *_whole(0)
    )
    bits_every: int = _option(
        0,
        "Take bits per dimension of 64 held-out samples at ends of epochs, N steps apart or more; 0: never.",
        *_whole(0),
    )
    sample_every: int = _option(5000, "Write a picture of samples every N steps; 0: never.", *_whole(0))
    checkpoint_every: int = _option(1000, "Write a checkpoint every N steps.", *_whole(1))
    keep: int = _option(2, "Keep the newest N checkpoints.", *_whole(1))
    tensorboard: bool = _option(
        False, "Write losses, speed and samples for TensorBoard too. tensorboard --logdir RUN shows them."
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _typed(each.name, str(each.type), getattr(self, each.name)))
        for each in fields(self):
            value, choices = getattr(self, each.name), each.metadata["choices"]
            for holds, rule in each.metadata["rules"]:
                _require(each.name, value is None or holds(value), rule, value)
            if choices:
                _require(each.name, value in choices, f"must be one of {', '.join(choices)}", repr(value))
        rule = f"must be in 1..{self.batch}, the batch"
        _require("accumulate", 1 <= self.accumulate <= self.batch, rule, self.accumulate)
        others = {name: head for name, head in HEADS.items() if name != self.head}
        if own := HEADS[self.head].weights:
            _require("weight", self.weight in own, f"of head {self.head} must be {' or '.join(own)}", self.weight)
        for name, head in others.items():
            rule = f"{self.weight} belongs to head {name}, here head {self.head}"
            _require("weight", self.weight in own or self.weight not in head.weights[:1], rule, self.weight)
        for name, head in others.items():
            for option in head.owns:
                value, rule = getattr(self, option), f"belongs to head {name}, here head {self.head}"
                _require(option, value == getattr(TrainConfig, option), rule, value)

    def total_steps(self, samples: int) -> int:
        """How many steps the run has, on that many training samples."""
        return self.steps if self.epochs is None else -(-self.epochs * samples // self.batch)

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`. ValueError for a key that is missing or unknown; old runs lack those of heads."""
        names = {each.name for each in fields(cls)}
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

PRESETS: dict[str, dict[str, Any]] = {name: known.preset for name, known in SETS.items()}
# What goes with a table of counts where it is not given. Of rows of ten columns with long tails a beta-binomial head
# had the variances, the correlations and the zeros right after 2,000 steps; a mean head had halved variances.
OF_TABLE: dict[str, Any] = {
    "network": "mlp", "head": "beta-binomial", "steps": 10_000, "batch": 256, "decay": True,
    "times": "uniform",
}  # fmt: skip

HELP: dict[str, str] = {each.name: each.metadata["help"] for each in fields(TrainConfig)}


def preset(dataset: str, **given: Any) -> TrainConfig:
    """The configuration for a data set by name, with those of the head, and the options given in place of either."""
    known = {**PRESETS.get(dataset, {}), **given}
    head = HEADS.get(known.get("head", TrainConfig.head))
    return TrainConfig(**{**(head.options if head else {}), **known})


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
