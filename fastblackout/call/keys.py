"""The key of a call: the one given, or one made where none is."""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import sys
import threading
from typing import TYPE_CHECKING, Any

from ..arrays import same_in_every_slice
from ..ground.values import check_integer, is_integer, is_tensor, settled
from ..philox import SEED_END, WORD_END, WORD_MASK, FreshKey, Philox, Seed
from ..reference.philox import philox4x32

if TYPE_CHECKING:
    import torch

    from ..philox import Rng


_FOLDED = 0x6662  # into torch's keys, so that the seed is not what bits of the key itself are


def key_tensor(key: torch.Tensor, op: str) -> torch.Tensor:
    """A key as int64 (3,): one of Philox.tensor, or made from a stateless key of torch without a look at its values.

    TypeError for others. The seed for a key of torch is `bits` of it, folded, which are the same on every device.
    """
    import torch

    if key.dtype == torch.int64 and key.shape == (3,):
        return key
    random = sys.modules.get("torch.func._random")  # since torch 2.13, where it is imported
    if random is None or key.dtype != torch.uint64 or key.shape != (2,):
        rule = "must be int64 (3,)" + (", or uint64 (2,) as torch.func._random makes them" if random else "")
        raise TypeError(f"{op}: rng: a key tensor {rule}, got {key.dtype} {tuple(key.shape)}")
    folded = random.fold_in(key, _FOLDED)
    seed = random.bits_(folded, torch.zeros_like(folded[:1], dtype=torch.int64))
    return torch.cat([seed, torch.zeros_like(seed), torch.zeros_like(seed)])


def from_tensor(key: torch.Tensor, op: str) -> Philox:
    """The Philox of a key tensor on the CPU. ValueError for a first_sample or call out of range."""
    if (key := key_tensor(key, op)).device.type != "cpu":
        raise ValueError(f"{op}: rng: a key tensor must be on the op's device, cpu, got one on {key.device}")
    seed, first_sample, call = key.tolist()
    for name, value in (("first_sample", first_sample), ("call", call)):
        if not 0 <= value < WORD_END:
            raise ValueError(f"{op}: rng: {name} of a key tensor must be in 0..2^32 - 1, got {value}")
    return Philox(seed % SEED_END, first_sample=first_sample, call=call)


def one_key(op: str) -> str:
    """Said where slices of torch.vmap would all draw alike."""
    return f"{op}: rng: must be a key tensor for each slice of torch.vmap, got one for all"


def check_one(op: str, generator: torch.Generator | None) -> None:
    """ValueError for a generator beside a key."""
    if generator is not None:
        raise ValueError(f"{op}: rng: must not be given together with generator, got both")


def seed_of(op: str, rng: Any, most: int = SEED_END - 1) -> int:
    """The seed of a key, for what draws by other generators too: of such a key the seed alone may differ from 0."""
    if isinstance(rng, Philox):
        if rng.first_sample or rng.call:
            raise ValueError(f"{op}: rng: must be a key of first_sample 0 and call 0, got {rng}")
        rng = rng.seed
    return check_integer(op, "rng", rng, 0, most)


def resolve_rng(rng: Rng, generator: torch.Generator | None, op: str) -> Philox:
    """`late_key` with its seed drawn at once: for where code of the user runs before the first draw."""
    key = late_key(rng, generator, op)
    return Philox(key.seed, first_sample=key.first_sample, call=key.call) if isinstance(key, FreshKey) else key


def late_key(rng: Rng, generator: torch.Generator | None, op: str, samples: int = 0) -> Philox:
    """The key an op on the CPU uses: `rng` itself, what it holds or is the seed of; or a FreshKey, which draws a seed
    at its first use.

    A CPU generator gives one fresh 64-bit seed and advances. A CUDA generator gives its seed and offset, mixed by one
    Philox block on the host, and its offset advances by 4: no device work, no synchronisation. With neither, torch's
    default CPU generator gives the seed, so torch.manual_seed governs it; without torch, the operating system does.
    Raises ValueError when both are given, or for a key without words for so many samples, TypeError when one has the
    wrong type.
    """
    if rng is None:
        key: Philox = FreshKey(_fresh(generator, op))
    else:
        check_one(op, generator)
        if is_tensor(rng):
            rng = from_tensor(settled(op, "rng", rng), op)
        elif is_integer(rng):
            rng = Philox(check_integer(op, "rng", rng, 0, SEED_END - 1))
        if not isinstance(rng, Philox):
            rule = "must be a fastblackout.Philox or its seed (a torch.Generator goes to generator=)"
            raise TypeError(f"{op}: rng: {rule}, got {type(rng).__name__}")
        key = rng
    if (first := key.first_sample) + samples > WORD_END:
        raise ValueError(f"{op}: rng: first_sample + samples must be at most 2^32, got {first} + {samples}")
    return key


def _fresh(generator: torch.Generator | None, op: str) -> Seed:
    try:
        import torch
    except ImportError:
        if generator is not None:
            raise TypeError(f"{op}: generator: needs torch installed, got {type(generator).__name__}") from None
        return Seed(functools.partial(secrets.randbits, 64))
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"{op}: generator: must be a torch.Generator, got {type(generator).__name__}")
    if generator is None or generator.device.type == "cpu":
        return Seed(functools.partial(fresh_seed, generator))
    if generator.device.type == "cuda":
        return Seed(functools.partial(_from_seed_and_offset, generator))
    raise TypeError(f"{op}: generator: must be on cpu or cuda, got one on {generator.device}")


def key_of(op: str, rng: Any, generator: Any, like: torch.Tensor, samples: int) -> torch.Tensor:
    """The key as int64 (3,) on the device of `like`. A constant Philox is converted, a missing one drawn."""
    import torch

    if same_in_every_slice(rng):
        raise ValueError(one_key(op))
    if is_tensor(rng):
        check_one(op, generator)
        if rng.device != like.device:
            raise ValueError(f"{op}: rng: a key tensor must be on the op's device, {like.device}, got {rng.device}")
        return key_tensor(rng, op).contiguous()
    if rng is None and torch.compiler.is_compiling():
        if generator is not None:
            raise TypeError(f"{op}: generator: cannot be traced by torch.compile, give rng, got a torch.Generator")
        # The bits that late_key would draw, by an operation that torch.compile knows.
        low = -(1 << 63)
        seed = torch.randint(low, (1 << 63) - 1, (1,), dtype=torch.int64, device="cpu") ^ low
        return torch.cat([seed, seed.new_zeros(2)]).to(like.device)
    return late_key(rng, generator, op, samples).tensor(like.device)


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
    """64 bits of a CPU generator, or of torch's default one, which advances; without torch the operating system's."""
    try:
        import torch
    except ImportError:
        return secrets.randbits(64)
    with _drawing:  # the tensor has no name: it must not live longer
        bits = (
            torch.empty((), dtype=torch.int64, device="cpu")  # "cpu": under torch.set_default_device too
            .random_(-(1 << 63), None, generator=generator)
            .item()
        )
    return int(bits) % SEED_END


def _from_seed_and_offset(generator: torch.Generator) -> int:
    seed = generator.initial_seed() % SEED_END
    offset = generator.get_offset()
    generator.set_offset(offset + 4)  # torch keeps offsets at multiples of 4, one Philox block
    # Stream 0 belongs to no op, so this block is never one of the words a draw uses.
    low, high, _, _ = philox4x32(offset & WORD_MASK, offset >> 32, 0, 0, seed & WORD_MASK, seed >> 32)
    return int(high) << 32 | int(low)
