"""What one call of an op knows while its arguments are checked, and the kinds of arguments that are arrays or a key.

Each kind says in one place how a value is checked, and which fields for the kernels it becomes. It also says what the
torch schema calls these fields, and how they become a value again. A kind takes one value of a call, or a tuple of
values that are checked together.

Counts in dtypes that no kernel knows are copied to one that is known, and results come back in theirs. Checks come
before anything is written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import COUNTS, DTYPES, FLOATS, Array, adopt, is_traced
from ..backends import select
from ..backends.float_mode import default_floats
from ..ground.values import aligned, is_tensor, place_of, settled, shape_of
from ..philox import WORD_END, Philox
from ..probability import Prob
from .keys import key_of, late_key


def through_torch(value: Any, backend: str) -> bool:
    """Whether an op called with this array goes through torch_registry instead of to the host's kernels at once.

    The direct way reads addresses and values on the host; it serves NumPy arrays and plain CPU tensors, for a third
    of the time. The test itself takes under a microsecond.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return False
    return is_traced(value) or not value.is_cpu or select.asked(backend) == "triton"


def need_gradient(value: Any) -> bool:
    """Whether torch would differentiate by this argument."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor) and value.requires_grad and torch.is_grad_enabled()


def check_tensor(op: str, name: str, array: Array, value: Any) -> None:
    """TypeError unless `value`, adopted as `array`, is a torch tensor."""
    if not array.is_tensor:
        kind = type(value).__name__
        raise TypeError(f"{op}: {name}: must be a torch tensor like the other argument, got {kind}")


def same_shape(op: str, name: str, array: Array, other_name: str, other: Array) -> None:
    if array.shape != other.shape:
        raise ValueError(f"{op}: {name}: must have the shape of {other_name}, {other.shape}, got {array.shape}")
    if array.is_tensor or other.is_tensor:
        same_device(op, name, array, other_name, other)


def same_library(op: str, name: str, array: Array, other_name: str, other: Array) -> None:
    if array.is_tensor != other.is_tensor:
        kind = type(array.value).__name__
        raise TypeError(f"{op}: {name}: must be of the library of {other_name}, got {kind}")


def has_samples(op: str, name: str, array: Array) -> None:
    if not array.shape:
        raise ValueError(f"{op}: {name}: must have a batch dimension, got shape ()")


def has_categories(op: str, name: str, shape: Sequence[Any]) -> None:
    if not shape or shape[-1] == 0:
        raise ValueError(f"{op}: {name}: must have a last axis of categories, got shape {tuple(shape)}")


@default_floats
def check_sums(op: str, name: str, weights: Any) -> None:
    """ValueError unless weights of categories, of NumPy or torch, have finite sums above 0."""
    with np.errstate(over="ignore"):
        total = weights.sum(-1)
    wrong = ~((total > 0) & (total < np.inf))
    if wrong.any():
        rule = "must have a finite sum above 0 over the last axis"
        raise ValueError(f"{op}: {name}: {rule}, got {float(total[wrong][0]):.17g}")


def same_device(op: str, name: str, array: Array, other_name: str, other: Array) -> None:
    if array.device != other.device or (array.device == "cuda" and array.value.device != other.value.device):
        here, there = (each.value.device if each.is_tensor else "cpu" for each in (array, other))
        raise ValueError(f"{op}: {name}: must be on the device of {other_name}, {there}, got {here}")


COPIED = {"uint16": "int32", "uint32": "int64", "float32": "int32", "float64": "int64"}
WHOLE = ("uint16", "uint32")  # of these, the whole numbers


def adopt_counts(value: Any, op: str, argument: str, dtypes: tuple[str, ...]) -> Array:
    """`adopt` of counts, which may also come in a dtype of COPIED; ValueError for floats that are no whole numbers."""
    array = adopt(value, op, argument, accepted(dtypes))
    return array if array.dtype in dtypes else copied(array, op, argument)


def accepted(dtypes: tuple[str, ...]) -> Sequence[str]:
    """These dtypes, and those that are copied to one of them."""
    also = () if "int64" not in dtypes else WHOLE if "float32" in dtypes else tuple(COPIED)
    return *dtypes, *also


def copied(array: Array, op: str, argument: str) -> Array:
    copy = array.like(_copied(array, op, argument))
    copy.came_as = array.dtype
    return copy


def as_it_came(value: Any, like: Array) -> Any:
    """A result, or None, in the dtype that `like` came as; it may be an array of the caller's library already."""
    if value is None:
        return None
    if like.is_tensor or isinstance(value, np.ndarray):
        return _in_dtype(like, value, like.came_as)
    array = like.like(value)
    return array.like(_in_dtype(like, array.value, like.came_as)).give()


def _copied(array: Array, op: str, argument: str) -> Any:
    value = array.value.detach() if array.is_tensor else array.value
    copy = _in_dtype(array, value, COPIED[array.dtype])
    if not array.dtype.startswith("float"):
        return copy
    if array.is_tensor and (is_traced(value) or not value.is_cpu):
        return copy.masked_fill(copy != value, -1)  # which the kernels refuse or flag as they do any wrong count
    back = _in_dtype(array, copy, array.dtype)
    if not (sys.modules["torch"].equal(back, value) if array.is_tensor else np.array_equal(back, value)):
        wrong = back != value
        got = f"{float(value[wrong][0])!r}{place_of(wrong)}"
        raise ValueError(f"{op}: {argument}: must be whole numbers, got {got}")
    return copy


def _in_dtype(like: Array, value: Any, dtype: str) -> Any:
    if like.is_tensor:
        return value.to(getattr(sys.modules["torch"], dtype))
    with np.errstate(invalid="ignore"):  # NaN and infinities are told from the copy
        return value.astype(dtype)


MAX_DRAWS = 8  # as in csrc/include/fastblackout/energy_loss.h
NUMBERS = (float, int)  # types of values that are one number for all samples
WITHIN: set[str] = set()  # public names of ops whose numbers may differ within a sample
_PLAIN = (float, int, np.ndarray, Philox, type(None))  # of most values: there is nothing to settle


class Call:
    """A call of the op named `op`. The first array among its arguments says how many samples there are.

    through_torch: its arguments become tensors, for a device or for torch's own tracing. traced: torch traces it, so
    that no value of a tensor may be looked at.
    record: the fields that kernels and twins read, by name, in their order.
    read: what the op reads beside its first array, by argument: no output may lie in its memory.
    """

    first: Any = None
    first_name = ""
    samples = elements = 1
    one = False  # whether one matrix serves all samples
    into: Array | None = None  # the `out` that the output is copied to

    def __init__(self, op: str, backend: str, through_torch: bool = False, traced: bool = False) -> None:
        self.op, self.backend = op, backend
        self.through_torch, self.traced = through_torch, traced
        self.read: dict[str, Any] = {}
        self.record: dict[str, Any] = {}

    def arrays(self, field: str) -> list[Array]:
        """The values of a field, which torch's dispatcher hands over as tensors."""
        value = self.record.get(field)
        values = value if type(value) is tuple else (value,)
        return [each if type(each) is Array else Array(each, self.op, field) for each in values if each is not None]

    def begin(self, name: str, array: Array) -> None:
        """Takes the first array, in whose memory an output may lie."""
        self.read.pop(name, None)
        self.first, self.first_name = array, name
        self.samples, self.elements = array.size(self.op, name)

    def numbers(self, name: str, value: Any) -> Any:
        """`settle` of an argument of numbers, of a shape that stands beside the first array."""
        value = self.settle(name, value)
        if type(value) not in NUMBERS:
            sides = {f"{name}.p": value.p, f"{name}.q": value.q} if isinstance(value, Prob) else {name: value}
            for side, numbers in sides.items():
                shape = shape_of(numbers)
                aligned(self.op, side, shape, self.first_name, self.first.shape, self.op in WITHIN)
        return value

    def settle(self, name: str, value: Any) -> Any:
        """An argument whose tensors hold their values in memory, where the kernels read them."""
        kind = type(value)
        if kind not in _PLAIN and not self.traced:
            if kind is Prob:
                if type(value.p) not in _PLAIN or type(value.q) not in _PLAIN:
                    value = Prob(self.settle(f"{name}.p", value.p), self.settle(f"{name}.q", value.q))
            elif is_tensor(value):
                value = settled(self.op, name, value)
        self.read[name] = value
        return value


def detached(call: Call, array: Array) -> Array:
    """An array of which no gradient is asked, for torch; the host's kernels read any."""
    if call.through_torch:
        array.value = array.value.detach()
    return array


class Argument:
    """names: what callers and errors call its values. parts: its words in the torch schema, which end in its fields."""

    names: tuple[str, ...]
    parts: tuple[str, ...]
    arrays: Sequence[Sequence[str]] = ()  # the dtypes that the kernels know of each of its arrays
    laws: Sequence[Any] = ()  # of a head

    @property
    def fields(self) -> Sequence[str]:
        """The names of what kernels read. The last may be a tuple of several parts."""
        return [part.split()[-1] for part in self.parts]

    def from_schema(self, parts: Sequence[Any]) -> Sequence[Any]:
        """The fields, of the parts that torch's dispatcher hands over."""
        last = len(self.fields) - 1
        return parts if len(parts) == last + 1 else (*parts[:last], tuple(parts[last:]))

    def tensors(self, value: Any) -> list[Any]:
        """The torch tensors in a value."""
        return [value] if is_tensor(value) else []

    def check_present(self, call: Call, value: Any, missing: str) -> None:
        """TypeError for None. missing: how to get a value."""
        if value is None:
            raise TypeError(f"{call.op}: {self.names[0]}: must be given, {missing}, got None")

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        """What kernels read, one for each of `fields`: Arrays, numbers, None for what is left out.

        Numbers of samples are NumPy (B,), checked; where call.through_torch tensors on the device.
        """
        raise NotImplementedError

    def from_parts(self, *parts: Any) -> Any:
        """A value of this argument again."""
        return parts[0]

    def for_rows(self, *parts: Any) -> tuple[Any, ...]:
        """The parts of a call on arrays without dimensions, as one row of one element."""
        return tuple(part.reshape(1) if is_tensor(part) and part.ndim == 0 else part for part in parts)


class Counts(Argument):
    """Counts of any strides, whose dimension 0 is the sample. The first of an op says where and on how much it runs."""

    dtypes: tuple[str, ...] = COUNTS
    one_library = True  # with the first

    def __init__(self, name: str, dtypes: tuple[str, ...] = ()) -> None:
        self.names, self.parts = (name,), (f"Tensor {name}",)
        self.dtypes = dtypes or self.dtypes
        self.arrays = (self.dtypes,)
        self.accepted = accepted(self.dtypes)

    def canon(self, call: Call, value: Any) -> tuple[Array]:
        name, first = self.names[0], call.first
        if first is not None or type(value) is not np.ndarray:
            value = call.settle(name, value)
        array = adopt(value, call.op, name, self.accepted)
        if array.dtype not in self.dtypes:
            array = copied(array, call.op, name)
        if first is None:
            call.begin(name, array)
        else:
            if call.through_torch and not self.one_library:
                check_tensor(call.op, name, array, value)
            same_shape(call.op, name, array, call.first_name, call.first)
            if self.one_library:
                same_library(call.op, name, array, call.first_name, call.first)
        return (array,)


class Births(Counts):
    """Counts that may be expected ones, of any dtype, or the logits of such."""

    dtypes = DTYPES
    one_library = False

    def canon(self, call: Call, value: Any) -> tuple[Array]:
        (array,) = super().canon(call, value)
        return (detached(call, array),)


class Logits(Counts):
    """What a network gives."""

    dtypes = FLOATS

    def canon(self, call: Call, value: Any) -> tuple[Array]:
        (array,) = super().canon(call, value)
        has_samples(call.op, self.names[0], array)
        return (array,)


class Draws(Argument):
    """What a network gives for the same samples several times: 2..8 draws, each of the shape of the first argument."""

    arrays = (FLOATS,)

    def __init__(self, name: str) -> None:
        self.names, self.parts = (name,), (f"Tensor {name}",)

    def canon(self, call: Call, value: Any) -> tuple[Array]:
        name, first = self.names[0], call.first
        array = adopt(call.settle(name, value), call.op, name, FLOATS)
        has_samples(call.op, call.first_name, first)
        if array.shape[1:] != first.shape or not 2 <= array.shape[0] <= MAX_DRAWS:
            rule = f"shape must be (S, *shape of {call.first_name}), S in 2..{MAX_DRAWS}, (S, {str(first.shape)[1:]}"
            raise ValueError(f"{call.op}: {name}: {rule}, got {array.shape}")
        same_library(call.op, name, array, call.first_name, first)
        same_device(call.op, name, array, call.first_name, first)
        return (array,)


class ExpectedBirths(Argument):
    """(logits, births): exactly one of the two, of the shape of the counts."""

    names = "logits", "births"
    parts = "Tensor? logits", "Tensor? births"
    kinds = Births("logits", FLOATS), Births("births")
    arrays = FLOATS, DTYPES

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        logits, births = value
        if (logits is None) == (births is None):
            rule = "exactly one of logits and births must be given"
            raise TypeError(f"{call.op}: logits: {rule}, got {'none' if births is None else 'both'}")
        if births is None:
            return *self.kinds[0].canon(call, logits), None
        return None, *self.kinds[1].canon(call, births)

    def from_parts(self, *parts: Any) -> Any:
        return parts


class Key(Argument):
    """(rng, generator): what draws are keyed by. It is resolved last, so that a call that is refused draws no seed."""

    names = ("key",)
    parts = ("Tensor key",)

    def canon(self, call: Call, value: Any) -> tuple[None]:
        """Keeps its place in the record, and notes that the op reads the key's memory; `resolve` gives the key."""
        rng, _ = value
        if type(rng) is not Philox:
            call.settle("rng", rng)
        return (None,)

    def resolve(self, call: Call, value: Any) -> Any:
        """The fb.Philox for the host, or the key's tensor, once nothing else can be wrong."""
        rng, generator = value
        if call.through_torch:
            return key_of(call.op, call.read.get("rng", rng), generator, call.first.value, call.samples)
        if type(rng) is Philox and generator is None and rng.first_sample + call.samples <= WORD_END:
            return rng  # what most are
        return late_key(call.read.get("rng", rng), generator, call.op, call.samples)

    def from_parts(self, *parts: Any) -> Any:
        return parts[0], None
