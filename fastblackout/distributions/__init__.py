"""torch.distributions whose draws are the package's: whole numbers in integer dtypes, exact, and keyed.

They take the arguments of torch's classes, and are instances of these where torch has them. Draws are integers, so make
them floats before means and differences. What torch does not check, such as a count above 2^53, `sample` and `log_prob`
refuse.
"""

from .beta_binomial import BetaBinomial
from .binomial import Binomial
from .hypergeometric import Hypergeometric
from .multinomial import Multinomial
from .negative_binomial import NegativeBinomial
from .poisson import Poisson

__all__ = ["BetaBinomial", "Binomial", "Hypergeometric", "Multinomial", "NegativeBinomial", "Poisson"]
