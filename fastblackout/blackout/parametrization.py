"""What a model adds to its network at each time: centre and scale of the input, gain and offset of the head.

Centre, scale and the start of the head may be found in data, for each feature on its own: see `Fitted`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import torch
from torch import Tensor, nn

from ..ground.persistent import Table
from ..heads.head import moments
from ..ops import thin
from ..philox import Philox
from ..probability import Prob
from ..schedule.indices import as_index, is_plain
from ..schedule.tables import early_times
from .base import NetworkModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..schedule.schedule import Schedule
    from ..typing import Input, Parametrization, Scalar

# In counts^2. Near p = 0 almost all counts are 0 and the variance vanishes; the floor keeps one count at 10 or less.
VARIANCE_FLOOR = 0.01
_LEAST_Q = 1e-300  # at k = 0 no birth remains, and the logarithm of 0 is none
_LEVELS = 255  # what stands for the largest count in grids before `fit_input` has seen one
PLACES = 51  # times at which `Fitted` knows centre and scale; they are linear in k between them
LEAST = 0.1  # the least standard deviation: near p = 0 nearly all counts are 0
MOST = 1 << 22  # counts of the data that are thinned for the moments of log(1 + x_t): rows evenly spread over all,
LEAST_ROWS = 1024  # but so many at least
LOG1P = "log1p"
_KEY = Philox(seed=297)


class Fitted(nn.Module):
    """::

        input = (f(x_t) - center_k) / deviation_k,    f(x) = log(1 + x) or x
        outputs = network outputs + start

    All are buffers, so that they are saved, moved and copied with the weights. center, deviation: (places, C, ...), by
    time; start: (n C, ...), as the outputs are.
    """

    center: Tensor
    deviation: Tensor
    start: Tensor

    def __init__(self, steps: int, log1p: bool, center: Tensor, deviation: Tensor, start: Tensor) -> None:
        super().__init__()
        self.steps, self.log1p = steps, log1p
        for name, value in (("center", center), ("deviation", deviation), ("start", start)):
            self.register_buffer(name, value.float())

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        """The input of counts x (B, C, ...), as floats, at times k (B,)."""
        if x.shape[1:] != self.center.shape[1:]:
            rule = f"must have the shape (B, {', '.join(map(str, self.center.shape[1:]))}) of the data of fit_input"
            raise ValueError(f"BlackoutModel: model_input: {rule}, got {tuple(x.shape)}")
        last, x = len(self.center) - 1, x.float()
        place = k.float() * (last / self.steps)
        low = place.floor().clamp(max=last - 1).long()
        share = (place - low).view(-1, *[1] * (x.ndim - 1))
        tables = (table.float() for table in (self.center, self.deviation))
        center, deviation = (torch.lerp(table[low], table[low + 1], share) for table in tables)
        return ((torch.log1p(x) if self.log1p else x) - center) / deviation


def fit(schedule: Schedule, x_0: Tensor, log1p: bool, start: Tensor) -> Fitted:
    """The numbers of counts (N, C, ...)."""
    places = [round(i * schedule.steps / (PLACES - 1)) for i in range(PLACES)]
    mean, variance = moments(x_0)
    often = max(1, min(64, MOST // x_0.numel()))  # few data are thinned several times
    rows = max(LEAST_ROWS, MOST * len(x_0) // x_0.numel())
    thinned = x_0[:: -(-len(x_0) // rows)].repeat(often, *[1] * (x_0.ndim - 1))
    most = max(1, int(thinned.max()))
    centers, deviations = [], []
    for n, k in enumerate(places):
        p, q = float(schedule.p[k]), float(schedule.q[k])
        if log1p:
            x_t = thin(thinned, Prob(p, q), rng=_KEY.at(call=n), max_count=most, outputs=("x_t",)).x_t
            spread, center = torch.var_mean(torch.log1p(x_t.double()), 0, correction=0)
        else:
            center, spread = p * mean, p * p * variance + p * q * mean
        centers.append(center)
        deviations.append(spread.clamp(min=LEAST**2).sqrt())
    return Fitted(schedule.steps, log1p, torch.stack(centers), torch.stack(deviations), start)


def empty(steps: int, log1p: bool, table: tuple[int, ...], start: tuple[int, ...]) -> Fitted:
    """One to be filled by `load_state_dict`, whose tables and start have these shapes."""
    return Fitted(steps, log1p, torch.zeros(table), torch.ones(table), torch.zeros(start))


class Parametrized(NetworkModel):
    """The numbers of each time, and what `fit_input` finds in data; a subclass sets what is declared here."""

    schedule: Schedule
    input: Input
    parametrization: Parametrization
    data_mean: float | None
    data_std: float | None
    fitted: Fitted | None
    largest_seen: int | None

    @property
    def needs_fit(self) -> bool:
        """Whether the model cannot be used before `fit_input`."""
        return self.input == LOG1P or not self.bounded or (self.input == "normalized" and self.data_mean is None)

    @property
    def typical_count(self) -> int:
        """What the grid and the times "early" take for the largest count: max_count where there is one."""
        return self.max_count if self.bounded else self.largest_seen or _LEVELS

    def fit_input(self, x_0: Tensor | NDArray[Any], outputs: int | None = None) -> Self:
        """Find centre and scale of the input, and where the head begins, of each feature on its own.

        A network whose last layer begins at zero then starts from each feature's own law: with the mean of its counts,
        and the variance where the head has a number for it.

        Parameters
        ----------
        x_0 : array
            Integer counts (N, C, ...) of the training data, in 0..max_count. NumPy or torch.
        outputs : int, optional
            How many outputs the network has for a count, where the head leaves a choice: 2, 5 or 8 of
            "bayes-logistic". The least by default.

        Returns
        -------
        BlackoutModel
            The model itself.

        Raises
        ------
        TypeError
            If `x_0` holds no integers.
        ValueError
            If `input` is not "normalized" or "log1p", or counts or shape are wrong.

        Notes
        -----
        All is kept in buffers, so in `state_dict`, in `save_pretrained` and in moving averages that are made after it;
        but for the largest count, which the configuration has. `data_mean` and `data_std` are then None.
        Moments of log(1 + x_t) are taken of the data, of up to four million counts, thinned at 51 times. They are
        linear in k between these.
        """
        op = "BlackoutModel.fit_input"
        if self.input not in ("normalized", LOG1P):
            raise ValueError(f"{op}: input: must be normalized or log1p, got {self.input!r}")
        if not isinstance(x_0, (Tensor, np.ndarray)):
            raise TypeError(f"{op}: x_0: must be an array of integer counts, got {type(x_0).__name__}")
        counts = torch.as_tensor(x_0)
        if counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool:
            raise TypeError(f"{op}: x_0: must be integer counts, got {counts.dtype}")
        if counts.dtype not in (torch.uint8, torch.int16, torch.int32):
            counts = counts.long()
        if counts.ndim < 2 or not counts.numel():
            raise ValueError(f"{op}: x_0: must have shape (N, C, ...) without a zero, got {tuple(counts.shape)}")
        low, high = int(counts.min()), int(counts.max())
        if low < 0 or high > self.max_count:
            raise ValueError(f"{op}: x_0: must lie in 0..{self.max_count}, got {low if low < 0 else high}")
        allowed = self.head_object.numbers_per_count(self.max_count)
        if (numbers := allowed[0] if outputs is None else outputs) not in allowed:
            raise ValueError(f"{op}: outputs: must be one of {', '.join(map(str, allowed))}, got {outputs!r}")
        counts = counts.to(next((each.device for each in self.parameters()), counts.device))
        start = self.head_object.start(self, counts, numbers).flatten(0, 1)
        self.largest_seen, self.data_mean, self.data_std = max(high, 1), None, None
        self.fitted = fit(self.schedule, counts, self.input == LOG1P, start).to(counts.device)
        self._make_tables()
        return self

    def _make_tables(self) -> None:
        arrays = self._arrays()
        self._tables = {name: Table(partial(arrays.__getitem__, name)) for name in arrays}
        self._early = Table(partial(_early_table, self))

    def early_times(self, index: Tensor) -> Tensor:
        """Entries of the table of the times "early", which `fb.loss` draws of where it may not look at its key.

        Parameters
        ----------
        index : torch.Tensor
            Integers in 0..999.

        Returns
        -------
        torch.Tensor
            Times, int64 like `index`.
        """
        entries: Tensor = self._early.at("BlackoutModel.early_times", index)
        return entries.long()

    def _arrays(self) -> dict[str, np.ndarray]:
        p, q = self.schedule.p, self.schedule.q
        center = self.max_count / 2 * p
        scale = np.full_like(p, 1.0 if self.input == "reference" else 2.0 / self.max_count)
        if self.fitted is not None or self.needs_fit:  # counts go in as they are: see `Fitted`
            center, scale = np.zeros_like(p), np.ones_like(p)
        elif self.input == "normalized":
            assert self.data_mean is not None and self.data_std is not None  # else it needs a fit
            center = self.data_mean * p
            variance = p * p * self.data_std**2 + p * q * self.data_mean
            scale = 1.0 / np.sqrt(np.maximum(variance, VARIANCE_FLOOR))
        gain = q * (self.max_count / 4) if self.parametrization == "likelihood" else np.ones_like(p)
        return {"center": center, "scale": scale, "gain": gain, "offset": np.log(np.maximum(q, _LEAST_Q))}

    @overload
    def center(self, k: Scalar) -> float: ...
    @overload
    def center(self, k: NDArray[Any]) -> NDArray[np.float64]: ...
    @overload
    def center(self, k: Tensor) -> Tensor: ...
    def center(self, k: Any) -> float | NDArray[np.float64] | Tensor:
        """The number that is taken from the input at step k.

        Parameters
        ----------
        k : int or array of int
            The step, in 0..steps.

        Returns
        -------
        float or array
            A float for an int, else float64 like `k` (NumPy or torch).
        """
        number: float | NDArray[np.float64] | Tensor = self._at("center", k)
        return number

    @overload
    def scale(self, k: Scalar) -> float: ...
    @overload
    def scale(self, k: NDArray[Any]) -> NDArray[np.float64]: ...
    @overload
    def scale(self, k: Tensor) -> Tensor: ...
    def scale(self, k: Any) -> float | NDArray[np.float64] | Tensor:
        """The factor of the centred input at step k.

        Parameters
        ----------
        k : int or array of int
            The step, in 0..steps.

        Returns
        -------
        float or array
            A float for an int, else float64 like `k` (NumPy or torch).
        """
        number: float | NDArray[np.float64] | Tensor = self._at("scale", k)
        return number

    @overload
    def gain(self, k: Scalar) -> float: ...
    @overload
    def gain(self, k: NDArray[Any]) -> NDArray[np.float64]: ...
    @overload
    def gain(self, k: Tensor) -> Tensor: ...
    def gain(self, k: Any) -> float | NDArray[np.float64] | Tensor:
        """The factor of softplus(logits) of head "mean" at step k.

        Parameters
        ----------
        k : int or array of int
            The step, in 0..steps.

        Returns
        -------
        float or array
            A float for an int, else float64 like `k` (NumPy or torch).
        """
        number: float | NDArray[np.float64] | Tensor = self._at("gain", k)
        return number

    @overload
    def offset(self, k: Scalar) -> float: ...
    @overload
    def offset(self, k: NDArray[Any]) -> NDArray[np.float64]: ...
    @overload
    def offset(self, k: Tensor) -> Tensor: ...
    def offset(self, k: Any) -> float | NDArray[np.float64] | Tensor:
        """The `offset` of the ops of heads other than "mean" at step k.

        ::

            log(1 - p_k), and log(1e-300) at k = 0, where p is 1

        Parameters
        ----------
        k : int or array of int
            The step, in 0..steps.

        Returns
        -------
        float or array
            A float for an int, else float64 like `k` (NumPy or torch).
        """
        number: float | NDArray[np.float64] | Tensor = self._at("offset", k)
        return number

    def _at(self, name: str, k: Any) -> Any:
        op = f"BlackoutModel.{name}"
        value = self._tables[name].at(op, as_index(op, "k", k, 0, self.schedule.steps))
        return float(value) if is_plain(k) else value


def _early_table(model: Parametrized) -> NDArray[np.float64]:
    return early_times(model.schedule.p, model.typical_count).astype(np.float64)
