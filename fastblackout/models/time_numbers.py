"""The numbers that go with a model's input and outputs at each time: centre, scale, gain and offset."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from torch import nn

from ..ground.persistent import Table
from ..schedule.indices import as_index, is_plain
from ..schedule.schedule import Schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..typing import Scalar

# In counts^2. Near p = 0 almost all counts are 0 and the variance vanishes; the floor keeps one count at 10 or less.
VARIANCE_FLOOR = 0.01
_LEAST_Q = 1e-300  # at k = 0 no birth remains, and the logarithm of 0 is none


class TimeNumbers(nn.Module):
    """A module that answers with numbers of the steps of a schedule, from tables."""

    schedule: Schedule
    max_count: int
    input: str
    parametrization: str
    data_mean: float | None
    data_std: float | None

    def _make_tables(self) -> None:
        """Once the attributes are there."""
        arrays = self._arrays()
        self._tables = {name: Table(partial(arrays.__getitem__, name)) for name in arrays}

    def _arrays(self) -> dict[str, np.ndarray]:
        p, q = self.schedule.p, self.schedule.q
        center = self.max_count / 2 * p
        scale = np.full_like(p, 1.0 if self.input == "reference" else 2.0 / self.max_count)
        if self.input == "normalized":
            assert self.data_mean is not None and self.data_std is not None  # the constructor checks them
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
