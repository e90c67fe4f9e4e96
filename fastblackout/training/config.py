"""What a training run can be told, and what it does when told nothing."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection
from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, get_args

from ..data import SETS
from ..heads import GONE, GONE_RULE, HEADS
from ..typing import Compile, Input, Network, Parametrization, Precision, ScheduleName, StopBy, Times, Weight

if TYPE_CHECKING:
    from ..typing import HeadName

COMPILE = get_args(Compile)
PRECISIONS = get_args(Precision)
MOST_SCHEDULE_STEPS = 1_000_000  # a thousand times the paper's
MOST_THREADS = 4096  # OpenMP ends the process where the system cannot start as many threads as it asks for.
RESUMABLE = frozenset(
    {"steps", "epochs", "device", "threads", "log_every", "held_out_every", "sample_every", "checkpoint_every", "keep"}
    | {"bits_every", "tensorboard", "compile", "precision", "cuda_graph", "accumulate", "patience", "stop_by"}
)

Rule = tuple[Callable[[Any], bool], str]


def least(limit: int) -> Rule:
    return lambda value: value >= limit, f"must be at least {limit}"


def below(power: int) -> Rule:
    return lambda value: value < 1 << power, f"must be below 2^{power}"


def within(low: int, high: int) -> Rule:
    return lambda value: low <= value <= high, f"must be in {low}..{high}"


def whole(low: int, most: int | None = None) -> tuple[Rule, ...]:
    """The rules of a number of things."""
    if most is None:
        return least(low), below(32)
    return least(low), (lambda value: value <= most, f"must be at most {most}")


POSITIVE: Rule = (lambda value: 0 < value < float("inf"), "must be above 0 and finite")
SHARE: Rule = (lambda value: 0 <= value < 1, "must be in [0, 1)")


def option(default: Any, about: str, *rules: Rule, choices: Collection[str] = ()) -> Any:
    """A field from which its check and its option of the command line follow."""
    return field(default=default, metadata={"help": about, "rules": rules, "choices": choices})


def documented(of: Field[Any]) -> str:
    """An option as NumPy's docstrings list a parameter."""
    choices = ", ".join(map(repr, of.metadata["choices"]))
    kind = f"{{{choices}}}" if choices else str(of.type).replace(" | ", " or ")
    return f"{of.name} : {kind}, default {of.default!r}\n    {of.metadata['help']}"


_KINDS: dict[str, tuple[type, type, str]] = {
    "int": (numbers.Integral, int, "an integer"),
    "int | None": (numbers.Integral, int, "an integer or None"),
    "float": (numbers.Real, float, "a number"),
    "bool": (bool, bool, "True or False"),
    "str": (str, str, "text"),
}


def typed(name: str, kind: str, value: Any) -> Any:
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


def require(name: str, good: bool, rule: str, value: Any) -> None:
    if not good:
        raise ValueError(f"train: {name}: {rule}, got {value}")


@dataclass(frozen=True)
class TrainConfig:
    """The options of a training run. `preset` gives the defaults of a data set and of a head."""

    steps: int = option(100_000, "Train for N steps.", *whole(0))
    epochs: int | None = option(None, "Train for N passes over the training samples, instead of --steps.", *whole(1))
    batch: int = option(128, "A step takes N samples, of all processes together.", *whole(1))
    accumulate: int = option(1, "A process takes its samples of a step in N parts, to need less memory.")
    learning_rate: float = option(2e-4, "The step size of Adam is X.", POSITIVE)
    warmup: int = option(500, "The learning rate rises from 0 over the first N steps.", *whole(0))
    decay: bool = option(False, "Let the learning rate fall to 0 along a half cosine.")
    clip: float = option(1.0, "Shrink gradients whose norm is above X.", POSITIVE)
    ema: float = option(
        0.9999, "The moving average of the weights decays by X at most; at step n by (1 + n) / (10 + n).", SHARE
    )
    dropout: float = option(0.1, "Drop a share X of the values inside the network's blocks.", SHARE)
    flip: bool = option(False, "Mirror half of the training images left to right.")
    conditional: bool = option(False, "Train on the class labels too, to draw samples of one class.")
    label_dropout: float = option(0.1, "Hide a share X of the labels from a conditional network, for guidance.", SHARE)
    network: Network = option(
        "small", "small: for a CPU; mlp: for tables; the others: the paper's.", choices=get_args(Network)
    )
    channels: int = option(32, "The small network has N channels. The width of mlp is 4 N.", *whole(1))
    blocks: int = option(1, "The small network has N residual blocks a level, mlp has 3 N.", *whole(1))
    head: HeadName = option(
        "mean",
        "What the network gives. mean: expected births, as in the paper; implicit: a joint draw; the others: laws.",
        (lambda name: name not in GONE, GONE_RULE),
        choices=HEADS,
    )
    noise_channels: int = option(4, "Put N channels of noise beside the image, with head implicit.", within(1, 64))
    draws: int = option(
        2, "Let the network make N joint draws of an image in a step (2 to 8), with head implicit.", within(2, 8)
    )
    components: int = option(
        1, "Mix N logistic laws (1 to 3) to the prior of a pixel, with head bayes-logistic.", within(1, 3)
    )
    weight: Weight = option(
        "likelihood",
        "How the loss weighs the times. finite-time, instantaneous: the paper's; energy: of head implicit.",
        choices=get_args(Weight),
    )
    times: Times = option(
        "early",
        "Which times to train at. early: every other one as the grid early lies; uniform: all alike.",
        choices=get_args(Times),
    )
    parametrization: Parametrization = option(
        "likelihood",
        "Births with head mean. likelihood: (1 - p) max_count / 4 softplus; paper: softplus.",
        choices=get_args(Parametrization),
    )
    input: Input = option("normalized", "How counts are centred and scaled for the network.", choices=get_args(Input))
    schedule: ScheduleName = option(
        "logit", "The survival probabilities of the forward process.", choices=get_args(ScheduleName)
    )
    schedule_steps: int = option(
        1000, "The schedule has N steps; the paper's has 1000.", *whole(1, MOST_SCHEDULE_STEPS)
    )
    t_end: float = option(15.0, "The logit schedule ends at time X.", POSITIVE)
    seed: int = option(0, "The seed of every random draw.", least(0), below(64))
    device: str = option("auto", "auto, cpu, cuda or cuda:N. auto: a GPU where its kernels run, else the CPU.")
    threads: int = option(0, "Let torch use N CPU threads; 0: as many as it likes.", *whole(0, MOST_THREADS))
    compile: Compile = option(
        "auto",
        "Compile the network by torch.compile. auto: on a GPU, and on a CPU where a trial finds it faster.",
        choices=COMPILE,
    )
    precision: Precision = option(
        "auto",
        "Precision of the network. auto: bf16 (mixed with float32) on a GPU that has it, else fp32.",
        choices=PRECISIONS,
    )
    cuda_graph: bool = option(False, "Replay each step as one CUDA graph, for small networks on a GPU.")
    log_every: int = option(50, "Write a line of losses into log.jsonl every N steps.", *whole(1))
    held_out_every: int = option(
        500, "Take the held-out loss at ends of epochs, N steps apart or more; 0: never.", *whole(0)
    )
    bits_every: int = option(
        0,
        "Take bits per dimension of 64 held-out samples at ends of epochs, N steps apart or more; 0: never.",
        *whole(0),
    )
    patience: int = option(
        0, "Stop when the held-out number of --stop-by has not fallen N times in a row; 0: never.", *whole(0)
    )
    stop_by: StopBy = option(
        "loss", "Which held-out number --patience goes by; its best is kept.", choices=get_args(StopBy)
    )
    sample_every: int = option(5000, "Write a picture of samples every N steps; 0: never.", *whole(0))
    checkpoint_every: int = option(1000, "Write a checkpoint every N steps.", *whole(1))
    keep: int = option(2, "Keep the newest N checkpoints.", *whole(1))
    tensorboard: bool = option(
        False, "Write losses, speed and samples for TensorBoard too. tensorboard --logdir RUN shows them."
    )

    def __post_init__(self) -> None:
        for declared in fields(self):
            kind = "str" if declared.metadata["choices"] else str(declared.type)
            object.__setattr__(self, declared.name, typed(declared.name, kind, getattr(self, declared.name)))
        for declared in fields(self):
            value, choices = getattr(self, declared.name), declared.metadata["choices"]
            for holds, rule in declared.metadata["rules"]:
                require(declared.name, value is None or holds(value), rule, value)
            if choices:
                require(declared.name, value in choices, f"must be one of {', '.join(choices)}", repr(value))
        rule = f"must be in 1..{self.batch}, the batch"
        require("accumulate", 1 <= self.accumulate <= self.batch, rule, self.accumulate)
        every = "held_out_every" if self.stop_by == "loss" else "bits_every"
        rule = f"needs {every} above 0 for stop_by {self.stop_by}"
        require("patience", not self.patience or getattr(self, every) > 0, rule, self.patience)
        others = {name: head for name, head in HEADS.items() if name != self.head}
        if own := HEADS[self.head].weights:
            require("weight", self.weight in own, f"of head {self.head} must be {' or '.join(own)}", self.weight)
        for name, head in others.items():
            rule = f"{self.weight} belongs to head {name}, here head {self.head}"
            require("weight", self.weight in own or self.weight not in head.weights[:1], rule, self.weight)
        for name, head in others.items():
            for own_option in head.owns:
                value, rule = getattr(self, own_option), f"belongs to head {name}, here head {self.head}"
                require(own_option, value == getattr(TrainConfig, own_option), rule, value)

    def total_steps(self, samples: int) -> int:
        """How many steps the run has, on so many training samples.

        Parameters
        ----------
        samples : int
            The number of training samples.

        Returns
        -------
        int
            The number of steps.
        """
        return self.steps if self.epochs is None else -(-self.epochs * samples // self.batch)

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON.

        Returns
        -------
        dict
            What `TrainConfig.from_dict` takes.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The configuration that `to_dict` described.

        Parameters
        ----------
        values : dict
            What `to_dict` returned. Options that earlier versions did not have may be missing.

        Returns
        -------
        TrainConfig
            The configuration.

        Raises
        ------
        ValueError
            If a key is missing or unknown.
        """
        names = {own.name for own in fields(cls)}
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
        """This run's configuration with options given anew.

        Parameters
        ----------
        given : dict
            The options, by name.

        Returns
        -------
        TrainConfig
            The configuration of the resumed run.

        Raises
        ------
        ValueError
            If an option would make it another run.
        """
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
# Options that runs of earlier versions lack. They lack `times`, too: their times were uniform.
_LATER = frozenset(
    {"components", "bits_every", "tensorboard", "compile", "precision", "cuda_graph", "accumulate"}
    | {"patience", "stop_by"}
)

PRESETS: dict[str, dict[str, Any]] = {name: dataset.preset for name, dataset in SETS.items()}
HELP: dict[str, str] = {own.name: own.metadata["help"] for own in fields(TrainConfig)}
TrainConfig.__doc__ = "\n".join(
    [f"{TrainConfig.__doc__}\n", "Parameters", "----------", *map(documented, fields(TrainConfig))]
)


def preset(dataset: str, **given: Any) -> TrainConfig:
    """The configuration for a data set by name.

    It begins with the options of the data set and of the head, and puts those given in their place.

    Parameters
    ----------
    dataset : str
        The name of the data set, one of `fastblackout.data.NAMES`.
    **given : object
        Options of `TrainConfig`.

    Returns
    -------
    TrainConfig
        The configuration.

    Raises
    ------
    TypeError
        If an option is unknown or has a wrong type.
    ValueError
        If an option is out of range.

    Examples
    --------
    >>> from fastblackout.training.config import preset
    >>> preset("digits", steps=500).head
    'beta-binomial'
    """
    options = {**PRESETS.get(dataset, {}), **given}
    head = HEADS.get(options.get("head", TrainConfig.head))
    return TrainConfig(**{**(head.options if head else {}), **options})
