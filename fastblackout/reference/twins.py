"""The twin of every op by its name, called with the op's arguments in the order in which the op declares them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import birth_loss
from .bridge import bridge
from .categorical import build_table, categorical, categorical_bridge, categorical_table
from .elements import binomial_elements, poisson_elements
from .portfloat import from_bfloat16, round_to_bfloat16
from .tau_leap import tau_leap
from .thin import thin
from .transition import bridge_log_prob, thin_log_prob, transition_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..philox import Philox


def _loss(logits: NDArray[Any], births: NDArray[Any], weight: NDArray[Any], gain: NDArray[Any]) -> NDArray[np.float32]:
    logits, births = _widened(logits), _widened(births)
    with np.errstate(over="ignore"):
        rules = (
            ("logits", logits, np.isfinite(logits.astype(np.float32)), "in float32"),
            ("births", births, np.isfinite(births.astype(np.float32)) & (births >= 0), "and at least 0"),
        )
    for name, values, right, rule in rules:
        if not right.all():
            raise ValueError(f"birth_loss: {name}: must be finite {rule}, got {float(values[~right][0]):.17g}")
    return birth_loss.birth_loss(logits, births, weight, gain.astype(np.float64))


def _loss_backward(
    logits: NDArray[Any], births: NDArray[Any], coefficient: NDArray[Any], gain: NDArray[Any]
) -> NDArray[Any]:
    grad = birth_loss.birth_loss_grad(_widened(logits), _widened(births), coefficient, gain.astype(np.float64))
    return round_to_bfloat16(grad) if logits.dtype == np.uint16 else grad


def _categorical(state: NDArray[Any], probs: NDArray[Any], index: Any, key: Philox) -> NDArray[Any]:
    _check_index("categorical", index, len(probs))
    return categorical(state, probs, index, key)


def _categorical_table(
    state: NDArray[Any], thresholds: NDArray[Any], guide: NDArray[Any], index: Any, key: Philox
) -> NDArray[Any]:
    _check_index("categorical", index, len(thresholds))
    return categorical_table(state, thresholds, index, key)


def _categorical_bridge(*arguments: Any) -> NDArray[Any]:
    *_, before, _, index, _ = arguments
    _check_index("categorical_bridge", index, len(before))
    return categorical_bridge(*arguments)


def _check_index(op: str, index: NDArray[Any] | None, count: int) -> None:
    if index is not None and not ((index >= 0) & (index < count)).all():
        wrong = index[~((index >= 0) & (index < count))]
        raise ValueError(f"{op}: index: must be in 0..{count - 1}, got {wrong[0]}")


def _widened(values: NDArray[Any]) -> NDArray[Any]:
    """NumPy has no bfloat16: its bit patterns come as uint16, and go on as float32."""
    return from_bfloat16(values) if values.dtype == np.uint16 else values


TWINS: dict[str, Callable[..., Any]] = {
    "binomial": binomial_elements,
    "birth_loss": _loss,
    "birth_loss_backward": _loss_backward,
    "bridge_log_prob": bridge_log_prob,
    "bridge_step": bridge,
    "build_categorical_table": build_table,
    "categorical": _categorical,
    "categorical_bridge": _categorical_bridge,
    "categorical_table": _categorical_table,
    "poisson": poisson_elements,
    "tau_leap_step": tau_leap,
    "thin": thin,
    "thin_log_prob": thin_log_prob,
    "transition_rows": transition_rows,
}
