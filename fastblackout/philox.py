"""The immutable random key that every op takes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .arrays import to_device
from .ground.values import shown

if TYPE_CHECKING:
    import torch

    from .typing import Device

# The version of the draws that docs/draw.md specifies. A change that alters a bit of any draw raises it.
STREAM_VERSION = 1
SEED_END = 1 << 64
WORD_END = 1 << 32
WORD_MASK = WORD_END - 1


def _check_integer(argument: str, value: object, end: int, power: int) -> int:
    # bool is an int in Python, but Philox(seed=True) is a mistake. NumPy's integers have __index__, and so have its
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
    """The key of a draw. The same key and inputs give the same integers on every backend.

        word w of element i of row b = Philox4x32-10, with
            key      (seed low, seed high)
            counter  (block of i, first_sample + b, call, stream << 24 | sub)

    The op and its purpose fix the stream. Nothing is counted in secret: use `rng.at(call=...)` for the next draw.

    Parameters
    ----------
    seed : int, default 0
        The seed, in 0..2^64 - 1.
    first_sample : int, default 0
        The global index of row 0 of the batch, in 0..2^32 - 1. With it, a part of a batch draws what the whole batch
        would draw.
    call : int, default 0
        The global training step, or the ordinal of the reverse step, in 0..2^32 - 1.

    Raises
    ------
    TypeError
        If an argument is not an integer, as a bool and a float are not, or another than `seed` is not named.
    ValueError
        If an argument is out of range.

    See Also
    --------
    Philox.tensor : The same key as a tensor, for compiled programs and CUDA graphs.

    References
    ----------
    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> fb.Philox(7).at(call=3)
    Philox(seed=7, first_sample=0, call=3)
    """

    seed: int = 0
    _: KW_ONLY
    first_sample: int = 0
    call: int = 0

    def __post_init__(self) -> None:
        seed, first, call = self.seed, self.first_sample, self.call
        plain = type(seed) is type(first) is type(call) is int  # most keys are, and need no conversion
        if plain and 0 <= seed < SEED_END and 0 <= first < WORD_END and 0 <= call < WORD_END:
            return
        object.__setattr__(self, "seed", _check_integer("seed", self.seed, SEED_END, 64))
        object.__setattr__(self, "first_sample", _check_integer("first_sample", self.first_sample, WORD_END, 32))
        object.__setattr__(self, "call", _check_integer("call", self.call, WORD_END, 32))

    def at(self, call: int | None = None, first_sample: int | None = None) -> Philox:
        """The same seed at another call or first sample.

        Parameters
        ----------
        call : int, optional
            The call of the new key, in 0..2^32 - 1. By default it stays.
        first_sample : int, optional
            The first sample of the new key, in 0..2^32 - 1. By default it stays.

        Returns
        -------
        Philox
            The new key. This one does not change.

        Raises
        ------
        TypeError
            If an argument is not an integer.
        ValueError
            If an argument is out of range.
        """
        first = self.first_sample if first_sample is None else first_sample
        return Philox(self.seed, first_sample=first, call=self.call if call is None else call)

    def tensor(self, device: Device | None = None) -> torch.Tensor:
        """The key as a tensor, for torch.compile and CUDA graphs.

        The tensor holds the seed as two's complement bits, first_sample and call. An op that gets it as `rng` reads
        nothing of it on the host. So one compiled graph serves all seeds and calls, and a captured graph may add 1 to
        `key[2]` on the device. The copy to a CUDA device waits for nothing.

        Parameters
        ----------
        device : torch.device or str or int, optional
            Where the tensor lies. By default it lies on the CPU.

        Returns
        -------
        torch.Tensor
            The key, int64, of shape (3,).

        Raises
        ------
        ValueError
            If `device` is not a device of torch.
        """
        import torch

        if device is not None:
            try:
                device = torch.device(device)
            except (RuntimeError, TypeError, ValueError):
                raise ValueError(f"Philox.tensor: device: must be a device of torch, got {shown(device)}") from None
        signed = self.seed - SEED_END if self.seed >> 63 else self.seed
        key = torch.tensor([signed, self.first_sample, self.call], dtype=torch.int64, device="cpu")
        if device is None:
            return key
        return to_device(key, device)

    @property
    def key(self) -> tuple[int, int]:
        """The two 32-bit words of the key: seed low, seed high."""
        return self.seed & WORD_MASK, self.seed >> 32


Rng: TypeAlias = "Philox | torch.Tensor | int | None"  # what ops take as rng=, an int as a seed


class Seed:
    """A seed that is drawn, by `draw`, at the first call."""

    drawn: int | None = None

    def __init__(self, draw: Callable[[], int]) -> None:
        self._draw = draw

    def __call__(self) -> int:
        if self.drawn is None:
            self.drawn = self._draw()
        return self.drawn


class FreshKey(Philox):
    """The key of a call that came without one.

    Its seed is drawn when it is first asked for. That is after all checks, so a call that is refused draws none. `at`
    gives keys of the same seed.
    """

    __slots__ = ("draw_seed",)
    draw_seed: Seed

    def __init__(self, draw_seed: Seed, first_sample: int = 0, call: int = 0) -> None:
        for name, value in (("draw_seed", draw_seed), ("first_sample", first_sample), ("call", call)):
            object.__setattr__(self, name, value)

    @property
    def seed(self) -> int:  # type: ignore[override]
        return self.draw_seed()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Philox, self.seed, first_sample=self.first_sample, call=self.call), ()

    def at(self, call: int | None = None, first_sample: int | None = None) -> Philox:
        place = Philox(0, first_sample=self.first_sample, call=self.call).at(call, first_sample)
        return FreshKey(self.draw_seed, place.first_sample, place.call)


def undrawn(key: Philox) -> Seed | None:
    """The seed of a key if it is yet to be drawn, else None."""
    return key.draw_seed if isinstance(key, FreshKey) and key.draw_seed.drawn is None else None


def draw_checked(key: Philox, draw: Callable[[Philox], Any]) -> Any:
    """`draw(key)`, for a function that finds some wrong values only while it draws.

    Where the seed is yet to be drawn, it is first called for these errors alone.
    """
    if undrawn(key) is not None:
        draw(Philox())
    return draw(key)
