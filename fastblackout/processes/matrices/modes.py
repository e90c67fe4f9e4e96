"""exp(t Q) of a birth-and-death chain for longer times by the few modes that are left, with a proven error bound.

With pi_i Q[i, i + 1] = pi_{i+1} Q[i + 1, i], D = diag(sqrt pi), and v_k the orthonormal eigenvectors of D Q D^-1 to
eigenvalues -l_k,

    P(t) = sum over k of exp(-l_k t) f_k g_k,  f_k = D^-1 v_k,  g_k = (v_k D)'.

Where pi spans many decades, roundings of v_k spoil f_k in the rare states (see spectrum.py). There f_k is continued
from each end inwards by Q f = -l f, three neighbours at a time, which is stable in this direction (f_k is the solution
that grows least outwards), and joined to the common states. For later times few modes are left. They are taken from the
first g = n h on, n = 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ..., at which what is measured against P(g) of uniformization
says that they are good; below, f_k includes exp(-l_k g), and t >= g.

The bound, in the norms of uniformization.py, |f| the largest entry of a column and |g| the sum of a row, for any f, g:
    P(t) - sum = P(t - g) (P(g) - F G) + sum over k of (P(t - g) - exp(-l_k (t - g))) f_k g_k
    (P(s) - exp(-l s)) f = integral of P(s - v) (Q f + l f) exp(-l v) dv over v in 0..s     (Duhamel)
so |P(t) - sum| <= |P(g) - F G| + sum over k of |Q f_k + l_k f_k| min(t - g, 1 / l_k) |g_k|, as |P(s)| = 1. f_0 = 1 and
l_0 = 0: Q f_0 = 0. The roundings of the residuals, g(2 w + 6) q |f|, w the most rates out of a state, and the sum's
roundings, g(r + 12) |f| |g|, are added. Modes below 2^-64 are left out, within r 2^-64. Setting negative entries to 0
only helps; dividing a row by its sum adds |sum - 1|, and the roundings r of uniformization.py.
Sources: Karlin and McGregor, Trans. AMS 85 (1957); Gautschi, SIAM Review 9 (1967), for the direction of recurrences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .rounding import gamma, normalize
from .uniformization import ROW_SUM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .uniformization import Node, Uniformization

    Matrix = NDArray[np.float64]

GOOD = 8e-12  # the most that modes may add to the bound on the error
FEWEST, MOST = 64, 1024  # the numbers of states between which modes save time
_MODES = 48
# Where sqrt(pi) is below this share of its largest value, a state is rare, and f_k is continued into it.
_COMMON = 1e-3
_CUT = 2.0**-64


class Modes:
    """P(t) for t >= start, where `added` says how much further than P(start) that is from the truth."""

    def __init__(self, uniformization: Uniformization, eigen: Eigen, base: Node, start: float) -> None:
        rates, self.start, self.rounding = uniformization.rates, start, uniformization.rounding
        rows, decay = eigen.rows, eigen.decay
        columns = eigen.columns * np.exp(-decay * start)
        flow = rates @ columns - rates.sum(1)[:, None] * columns
        tall, wide = np.abs(columns).max(0), np.abs(rows).sum(1)
        width = int((rates > 0).sum(1).max())
        residual = np.abs(flow + columns * decay).max(0) + gamma(2 * width + 6) * uniformization.rate * tall
        drift = np.zeros(len(decay))
        drift[1:] = residual[1:] / decay[1:] * wide[1:]
        # Later modes are the less exact ones: as many as leave the smallest bound.
        rest, missed = base.matrix.copy(), []
        for k in range(len(decay)):
            rest -= columns[:, k, None] * rows[k]
            missed.append(float(np.abs(rest).sum(1).max()))
        rounded = 2 * gamma(len(decay) + 12) * np.cumsum(tall * wide) + len(decay) * _CUT
        bounds = np.array(missed) + np.cumsum(drift) + rounded
        count = int(np.argmin(np.nan_to_num(bounds, nan=np.inf))) + 1
        self.added = float(bounds[count - 1])
        self.error = base.error + self.added
        self.decay, self.size = decay[:count], (tall * wide)[:count]
        self.columns, self.rows = np.ascontiguousarray(columns[:, :count]), rows[:count]

    def into(self, result: Matrix, places: NDArray[np.intp], t: Matrix) -> Matrix:
        """Writes result[places[b]] = P(t[b]) for times of at least `start`; the error bounds (B,)."""
        error = np.full(len(t), self.error)
        for b, late in enumerate((t - self.start).tolist()):
            with np.errstate(over="ignore"):  # exp(-inf) is 0
                matrix, left = result[places[b]], np.exp(-self.decay * late)
            count = int(np.flatnonzero(left * self.size > _CUT)[-1]) + 1
            np.matmul(self.columns[:, :count] * left[:count], self.rows[:count], out=matrix)
            np.maximum(matrix, 0.0, out=matrix)
            off = normalize(matrix, within=ROW_SUM)
            if off > ROW_SUM:
                error[b] += off + self.rounding
        return np.minimum(error, 1.0)


class Eigen:
    """The slowest modes of a birth-and-death chain: f_k, g_k and l_k. law: pi."""

    def __init__(self, rates: Matrix, law: Matrix) -> None:
        scale = np.sqrt(law / law.max())
        up, down = np.append(np.diagonal(rates, 1), 0.0), np.insert(np.diagonal(rates, -1), 0, 0.0)
        symmetric = np.diag(-(up + down))
        beside = np.sqrt(up[:-1] * down[1:])
        symmetric[np.arange(len(law) - 1), np.arange(1, len(law))] = beside
        symmetric[np.arange(1, len(law)), np.arange(len(law) - 1)] = beside
        values, vectors = np.linalg.eigh(symmetric)
        slow = vectors[:, : -_MODES - 1 : -1]
        self.decay = np.maximum(-values[: -_MODES - 1 : -1], np.finfo(float).tiny)
        self.columns = slow / scale[:, None]
        self.rows = np.ascontiguousarray((slow * scale[:, None]).T)
        self.decay[0], self.columns[:, 0], self.rows[0] = 0.0, 1.0, law
        common = np.flatnonzero(scale > _COMMON)
        self._continue(np.arange(len(law))[: common[0] + 2], down, up)
        self._continue(np.arange(len(law))[: common[-1] - 2 : -1], up, down)

    def _continue(self, states: NDArray[np.intp], outwards: Matrix, inwards: Matrix) -> None:
        """f_k in states from an end to the second common one, by its values in the two common ones."""
        f = np.ones((len(states), len(self.decay)))
        for a, i in enumerate(states[:-1]):
            out = outwards[i] * f[a - 1] if a else 0.0
            f[a + 1] = ((outwards[i] + inwards[i] - self.decay) * f[a] - out) / inwards[i]
        joint = self.columns[states[-2:]]
        self.columns[states[:-2]] = f[:-2] * ((f[-2:] * joint).sum(0) / (f[-2:] ** 2).sum(0))


def find_modes(uniformization: Uniformization, eigen: Eigen, n: int) -> Modes | None:
    """The modes from n h on, if they are good there."""
    start = uniformization.step * n
    tall = np.abs(eigen.columns).max(0) * np.exp(-eigen.decay * start)
    if not float((tall * np.abs(eigen.rows).sum(1)).sum()) * gamma(_MODES) < GOOD:  # their roundings alone are too much
        return None
    modes = Modes(uniformization, eigen, uniformization.whole(n), start)
    return modes if modes.added <= GOOD else None
