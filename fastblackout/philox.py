"""The immutable random key every op takes, and how a missing one is made."""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .ground.values import settled, shown
from .reference.philox import philox4x32

if TYPE_CHECKING:
    import torch

_SEED_END = 1 << 64
_WORD_END = 1 << 32
_WORD_MASK = _WORD_END - 1


def _check_integer(argument: str, value: object, end: int, power: int) -> int:
    # bool is an int in Python, but Philox(seed=True) is a mistake; NumPy integers pass through __index__, and so do its
    # bools before 2.3.
    boolean = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
    if boolean or not hasattr(value, "__index__"):
        raise TypeError(f"Philox: {argument}: must be an integer, got {shown(value)}")
    try:
        number = value.__index__()
    except TypeError:  # arrays have the method too, but only integer scalars pass
        raise TypeError(f"Philox: {argument}: must be an integer, got {shown(value)}") from None
    if not 0 <= number < end:
        raise ValueError(f"Philox: {argument}: must be in 0..2^{power} - 1, got {shown(number)}")
    return int(number)


@dataclass(frozen=True, slots=True)
class Philox:
    """Key of a draw: the same key and inputs give the same integers on every backend, for any batch split.

    Word `w` of element `i` of row `b` is Philox4x32-10 with key = (seed low, seed high) and counter
    (block of i, first_sample + b, call, stream << 24 | sub); the op and its purpose fix the stream.

    seed: integer, 0..2^64 - 1.
    first_sample: integer, 0..2^32 - 1; the global index of row 0 of the batch, so that a part of a batch draws what the
        whole batch would.
    call: integer, 0..2^32 - 1; the global training step, or the ordinal of the reverse step.
    Nothing is counted in secret: use `rng.at(call=...)` for the next draw. `rng.tensor()` is the same key as a tensor.
    Raises TypeError for anything but an integer (bool and float included), ValueError out of range.
    """

    seed: int = 0
    first_sample: int = 0
    call: int = 0

    def __post_init__(self) -> None:
        seed, first, call = self.seed, self.first_sample, self.call
        plain = type(seed) is type(first) is type(call) is int  # what most are: nothing to convert
        if plain and 0 <= seed < _SEED_END and 0 <= first < _WORD_END and 0 <= call < _WORD_END:
            return
        object.__setattr__(self, "seed", _check_integer("seed", self.seed, _SEED_END, 64))
        object.__setattr__(self, "first_sample", _check_integer("first_sample", self.first_sample, _WORD_END, 32))
        object.__setattr__(self, "call", _check_integer("call", self.call, _WORD_END, 32))

    def at(self, call: int | None = None, first_sample: int | None = None) -> Philox:
        """The same seed at another call or first sample; what is None stays."""
        return Philox(
            self.seed,
            self.first_sample if first_sample is None else first_sample,
            self.call if call is None else call,
        )

    def tensor(self, device: Any = None) -> torch.Tensor:
        """The key as ops inside torch.compile and CUDA graphs take it: int64 (3,) on `device` (default: the CPU).

        It holds the seed as two's complement bits, first_sample and call. Given as rng=, nothing of it is read on the
        host: one compiled graph serves all seeds and calls, and a captured graph may add 1 to key[2] on the device.
        The copy to a CUDA device waits for nothing.
        """
        import torch

        if device is not None:
            try:
                device = torch.device(device)
            except (RuntimeError, TypeError, ValueError):
                raise ValueError(f"Philox.tensor: device: must be a device of torch, got {shown(device)}") from None
        signed = self.seed - _SEED_END if self.seed >> 63 else self.seed
        key = torch.tensor([signed, self.first_sample, self.call], dtype=torch.int64, device="cpu")
        if device is None:
            return key
        from .torch_args import to_device

        return to_device(key, device)

    @property
    def key(self) -> tuple[int, int]:
        """The two 32-bit key words (seed low, seed high)."""
        return self.seed & _WORD_MASK, self.seed >> 32


def check_key(key: torch.Tensor, op: str) -> torch.Tensor:
    """A key as a tensor (see Philox.tensor): TypeError unless int64 (3,)."""
    import torch

    if key.dtype != torch.int64 or key.shape != (3,):
        raise TypeError(f"{op}: rng: a key tensor must be int64 (3,), got {key.dtype} {tuple(key.shape)}")
    return key


def from_tensor(key: torch.Tensor, op: str) -> Philox:
    """The Philox of a key tensor on the CPU. ValueError for a first_sample or call out of range."""
    if check_key(key, op).device.type != "cpu":
        raise ValueError(f"{op}: rng: a key tensor must be on the op's device, cpu, got one on {key.device}")
    seed, first_sample, call = key.tolist()
    for name, value in (("first_sample", first_sample), ("call", call)):
        if not 0 <= value < _WORD_END:
            raise ValueError(f"{op}: rng: {name} of a key tensor must be in 0..2^32 - 1, got {value}")
    return Philox(seed % _SEED_END, first_sample, call)


def resolve_rng(rng: Philox | torch.Tensor | None, generator: torch.Generator | None, op: str) -> Philox:
    """The key an op on the CPU uses: `rng` itself or what it holds, or one made from `generator`, or a fresh one.

    A CPU generator gives one fresh 64-bit seed and advances. A CUDA generator gives its seed and offset, mixed by one
    Philox block on the host, and its offset advances by 4: no device work, no synchronisation. With neither, torch's
    default CPU generator gives the seed, so torch.manual_seed governs it; without torch, the operating system does.
    Raises ValueError when both are given, TypeError when one has the wrong type.
    """
    if rng is not None:
        if generator is not None:
            raise ValueError(f"{op}: rng: must not be given together with generator, got both")
        if not isinstance(rng, Philox):
            if (loaded := sys.modules.get("torch")) is not None and isinstance(rng, loaded.Tensor):
                return from_tensor(settled(op, "rng", rng), op)
            raise TypeError(f"{op}: rng: must be a fastblackout.Philox, got {type(rng).__name__}")
        return rng
    try:
        import torch
    except ImportError:
        if generator is not None:
            raise TypeError(f"{op}: generator: needs torch installed, got {type(generator).__name__}") from None
        return Philox(secrets.randbits(64))
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"{op}: generator: must be a torch.Generator, got {type(generator).__name__}")
    if generator is None or generator.device.type == "cpu":
        return Philox(fresh_seed(generator))
    if generator.device.type == "cuda":
        return _from_seed_and_offset(generator)
    raise TypeError(f"{op}: generator: must be on cpu or cuda, got one on {generator.device}")


# Held while torch draws a seed, so that no thread is in torch then when the process forks or the interpreter ends: a
# forked child would find the generator's own lock locked for ever, and torch ends the whole process where a daemon
# thread comes back from it to an interpreter that has ended. At exit the main thread keeps the lock, and the others
# wait for it until the process has ended.
_drawing: threading.RLock


def _renew_lock() -> None:
    global _drawing
    _drawing = threading.RLock()


_renew_lock()
os.register_at_fork(
    before=lambda: _drawing.acquire(), after_in_parent=lambda: _drawing.release(), after_in_child=_renew_lock
)
atexit.register(lambda: _drawing.acquire(timeout=10.0))


def fresh_seed(generator: torch.Generator | None) -> int:
    """64 bits of a CPU generator, or of torch's default one, which advances. For where torch is loaded."""
    torch = sys.modules["torch"]
    with _drawing:  # the tensor has no name: it must not live longer
        bits = (
            torch.empty((), dtype=torch.int64, device="cpu")  # "cpu": under torch.set_default_device too
            .random_(-(1 << 63), None, generator=generator)
            .item()
        )
    return bits % _SEED_END


def _from_seed_and_offset(generator: torch.Generator) -> Philox:
    seed = generator.initial_seed() % _SEED_END
    offset = generator.get_offset()
    generator.set_offset(offset + 4)  # torch keeps offsets at multiples of 4, one Philox block
    # Stream 0 belongs to no op, so this block is never one of the words a draw uses.
    low, high, _, _ = philox4x32(offset & _WORD_MASK, offset >> 32, 0, 0, seed & _WORD_MASK, seed >> 32)
    return Philox(int(high) << 32 | int(low))
