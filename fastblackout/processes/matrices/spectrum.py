"""exp(t Q) of a symmetrizable Q by one eigendecomposition, with a proven error bound.

With a law pi for which pi_i Q[i, j] = pi_j Q[j, i], A = D Q D^-1, D = diag(sqrt pi), is symmetric, and P(t) =
D^-1 exp(t A) D. The entries of D differ by a factor that multiplies every error, so this is used where it is at most
45, that is where sqrt(max pi / min pi) 2^-52 < 1e-14; the rest is left to uniformization. (Ehrenfest's urn with 127
balls, as a plain Q, is wrong by 300 otherwise.)

The bound. A is what D and Q give without rounding, not necessarily symmetric; V and L <= 0 are as LAPACK returns them,
however good: what counts is measured, in twice the precision (`_product`), its own rounding added. In the spectral
norm, at most Frobenius',
    h = |V^T V - I|,  R = A V - V L with columns R_k,  m = max(0, largest eigenvalue of the symmetric part of A)
    exp(t A) V - V exp(t L) = integral of exp((t - s) A) R exp(s L) ds over 0..t     (Duhamel)
    |exp(t A) - V exp(t L) V^T| <= exp(m t) (1 + h) (sum over k of (|R_k| min(t, 1 / |L_k|))^2)^(1/2) + h (1 + 2 h)
as |exp(t A)| <= exp(m t), |V^-1| <= 1 + h and |V^-1 - V^T| <= h (1 + h); m <= (1 + h)^2 (|R| + |A - A^T| + h |L|).
W = V exp(t L / 2) and W W^T add g(S + 16), g as in uniformization.py, and the eigenvalues left out, exp(t l) < 2^-64,
add 2^-64. An entry of P(t) is one of exp(t A) times D_j / D_i, rounded twice. Setting negative entries to 0 only helps;
dividing by the row's sum adds the largest |sum - 1|.
The bound grows with t, as roundings of the eigenvalue 0 do. Where it is no longer good, and all modes but the mode of 0
are below 2^-64, P(t) is taken as P(g) of the first time g at which they are: P(t) = R P(g) with R a transition matrix,
so that P(t)[i, j] is between the entries of column j of P(g). What they differ by is added to the bound.
Source: Duhamel's formula as in Van Loan, SIAM J. Numer. Anal. 14 (1977).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .rounding import UNIT, gamma, normalize
from .structure import followers, stationary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

WIDEST = 45.0  # the largest sqrt(max pi / min pi) for which this is used
_BALANCE = 1e-12  # relative, of pi_i Q[i, j] against pi_j Q[j, i]: what is left is in the bound
_CUT = -64 * math.log(2)
_GOOD = 1e-6  # an error bound above this is no longer good


def symmetrizing_law(rates: Matrix) -> Matrix | None:
    """pi, or None where Q is reducible or not symmetrizable."""
    pattern = rates > 0
    if (pattern != pattern.T).any() or len(followers(pattern, 0)) < len(rates):
        return None
    law = stationary(rates, np.arange(len(rates)))
    if not law.min() >= 1e-290:  # smaller entries have lost digits; NaN fails the test too
        return None
    flow = law[:, None] * rates
    return law if (np.abs(flow - flow.T) <= _BALANCE * flow).all() else None


def is_narrow(law: Matrix) -> bool:
    """Whether it spans at most WIDEST^2."""
    return math.sqrt(law.max() / law.min()) <= WIDEST


def _product(a: Matrix, b: Matrix) -> tuple[Any, float]:
    """a @ b in extended precision, a in extended precision, and a bound on the Frobenius norm of its error.

    Each factor is a high part on a grid coarse enough for BLAS to add products without rounding, and the rest (Ozaki's
    splitting). Source: Ozaki, Ogita, Oishi, Rump, Numerical Algorithms 59 (2012).
    """
    wide = np.longdouble
    bits = (52 - math.ceil(math.log2(len(b)))) // 2
    high, low = [], []
    for factor in (a.astype(wide), b.astype(wide)):
        grid = wide(2.0 ** (math.ceil(math.log2(float(np.abs(factor).max()))) - bits))
        coarse = np.rint(factor / grid) * grid
        high.append(coarse.astype(np.float64))
        low.append((factor - coarse).astype(np.float64))
    rest = high[0] @ low[1] + low[0] @ high[1] + low[0] @ low[1]
    size = [float(np.linalg.norm(part)) for part in (*high, *low)]
    crossed = size[0] * size[3] + size[2] * size[1] + size[2] * size[3]
    whole = (high[0] @ high[1]).astype(wide) + rest
    final = 2 * float(np.finfo(wide).eps) * float(np.linalg.norm(whole.astype(float)))
    return whole, 1.01 * (gamma(len(b) + 4) * crossed + final)


class Spectrum:
    """P(t) of the generator with off-diagonal `rates` that `law` symmetrizes."""

    def __init__(self, rates: Matrix, law: Matrix) -> None:
        wide = np.longdouble
        self.scale = np.sqrt(law / law.max())
        if self.scale.min() > 1 - 1e-13:  # equal but for roundings: a symmetric Q
            self.scale = np.ones(len(law))
        exact = rates * (self.scale.astype(wide)[:, None] / self.scale.astype(wide))
        np.fill_diagonal(exact, -rates.astype(wide).sum(1))
        symmetric = exact.astype(np.float64)
        values, self.vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
        self.values = np.minimum(values, 0.0)
        square, off = _product(self.vectors.T, self.vectors)
        self.orthogonality = 1.01 * float(np.linalg.norm((square - np.eye(len(law))).astype(float))) + off
        image, off = _product(exact, self.vectors)
        # The entries of `exact` are rounded four times, its diagonal sums S terms; V L and the difference, twice.
        rounded = 4 * np.linalg.norm(symmetric) + len(law) * rates.sum(1).max() + 3 * np.abs(self.values).max()
        off += 1.01 * float(np.finfo(wide).eps * rounded)
        residual = (image - self.vectors.astype(wide) * self.values).astype(float)
        self.residual = 1.01 * np.linalg.norm(residual, axis=0) + off
        skew = float(np.linalg.norm((exact - exact.T).astype(float)))
        stray = self.orthogonality * float(np.abs(self.values).max())
        self.growth = 1.01 * (float(np.linalg.norm(self.residual)) + skew + stray)

    def into(self, result: Matrix, places: NDArray[np.intp], t: Matrix) -> Matrix:
        """Writes result[places[b]] = P(t[b]); the error bounds (B,)."""
        error, buffer = np.empty(len(t)), np.empty((len(self.values),) * 2)
        for b, time in enumerate(t.tolist()):
            bound = self._bound(time)
            if bound > _GOOD and time >= self.start:
                result[places[b]], error[b] = self.limit
            elif time == 0.0:
                result[places[b]], error[b] = np.eye(len(self.values)), 0.0
            else:
                error[b] = min(1.0, bound + self._made(time, buffer, result[places[b]]))
        return error

    @cached_property
    def start(self) -> float:
        """The time from which on `limit` may be used: e^-l of the second eigenvalue -l is below the cut by far."""
        return min((16 - _CUT) / max(-float(self.values[-2]), 1e-300), 1e300)

    @cached_property
    def limit(self) -> tuple[Matrix, float]:
        """P(start), and how far it is from P(t) of any later t."""
        matrix = np.empty((len(self.values), len(self.values)))
        bound = self._bound(self.start) + self._made(self.start, matrix, matrix)
        return matrix, min(1.0, bound + float((matrix.max(0) - matrix.min(0)).max()))

    def _bound(self, time: float) -> float:
        """Of the error of P(time), but for the division of rows by their sums."""
        widest = float(self.scale.max() / self.scale.min())
        with np.errstate(over="ignore"):  # a bound above 1 may be as large as it likes
            reach = np.minimum(time, 1 / np.maximum(-self.values, 1e-300))
            drift = math.exp(min(self.growth * time, 700.0)) * float(np.linalg.norm(self.residual * reach))
        parts = 1.01 * (drift + self.orthogonality) + gamma(len(self.values) + 16) + 2.0**-64
        return widest * parts + 32 * UNIT

    def _made(self, time: float, product: Matrix, out: Matrix) -> float:
        """Writes P(time); how far the sums of rows were from 1."""
        kept = self.values * time > _CUT
        kept[-1] = True  # the eigenvalue 0, whatever roundings made of it
        half = self.vectors[:, kept] * np.exp(self.values[kept] * (time / 2))
        np.matmul(half, half.T, out=product)
        if not bool((self.scale == 1.0).all()):
            np.multiply(product, self.scale / self.scale[:, None], out=product)
        np.maximum(product, 0.0, out=product)
        return normalize(product, out)
