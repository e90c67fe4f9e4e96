"""torch.distributions whose draws are the package's: whole numbers in integer dtypes, exact, and keyed.

Code written for torch.distributions runs with these in its place: they take the same arguments, and are instances of
torch's classes where torch has them.
"""

from .beta_binomial import BetaBinomial
from .binomial import Binomial
from .negative_binomial import NegativeBinomial
from .poisson import Poisson

__all__ = ["BetaBinomial", "Binomial", "NegativeBinomial", "Poisson"]
