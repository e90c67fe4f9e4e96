"""The law of x_0 that a score determines, if it determines one: solved on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .inputs import a_state_each, any_library, host, like_of, move, number_of, states_of

if TYPE_CHECKING:
    from ..typing import ArrayT, NumpyLike
    from .base import Process


@any_library
def probs_from_score(process: Process, x_t: ArrayT | NumpyLike, score: ArrayT | NumpyLike, t: float) -> ArrayT:
    """The law of x_0 of a score, the inverse of `score_from_probs` where there is one.

    It solves, over the x_0 that reach x_t::

        sum over x_0 of probs[x_0] P(t)[x_0, i] / P(t)[x_0, x_t] = score[i]

    Parameters
    ----------
    process : Process
        The process.
    x_t : int or array of int
        States (B, ...).
    score : array
        The ratios at x_t, (..., S).
    t : float
        One time.

    Returns
    -------
    array
        p(x_0 | x_t), float64 (..., S), in the library and on the device of `score`. It is not differentiable.

    Raises
    ------
    ValueError
        If the equations do not determine the law.

    Notes
    -----
    There are as many equations as states that jump into x_t, and one more. They do not determine the law for a process
    of nearest neighbours with more states than that, nor at times so late that x_t has forgotten x_0. The error grows
    with the condition number of P(t): 1e-16 exp(t) for uniform and absorbing. The equations are solved on the host.
    """
    op = "probs_from_score"
    matrix = process._small(*process._durations(op, np.float64(number_of(op, "t", t))))
    score, x_t = a_state_each(op, "score", score, states_of(op, "x_t", x_t, process.states), process.states)
    now = host(x_t, op, "x_t")
    flat = host(score, op, "score").astype(np.float64).reshape(-1, process.states)
    result = np.zeros_like(flat)
    for j in np.unique(now):
        sources = matrix[:, j] > 0
        if sources.sum() == 1:
            result[now.ravel() == j] = sources
            continue
        rows = now.ravel() == j
        defined = np.isfinite(flat[rows]).all(0)
        ratios = (matrix[sources] / matrix[sources, j, None])[:, defined]
        singular = np.linalg.svd(ratios, compute_uv=False)
        if (singular > 1e-12 * singular.max(initial=0.0)).sum() < sources.sum():
            raise ValueError(
                f"{op}: score: must determine the law of x_0, got {int(defined.sum())} ratios at x_t = {j}, "
                f"t = {t}, for {int(sources.sum())} states"
            )
        solved = np.linalg.lstsq(ratios.T, flat[rows][:, defined].T, rcond=None)[0]
        result[np.ix_(rows, sources)] = solved.T
    return move(result.reshape(*now.shape, process.states), *like_of(score))
