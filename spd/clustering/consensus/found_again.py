"""How likely another ensemble finds the same: what a share of few members says about members that nobody has made.

Of M members, of which a share c puts two components together, as many more members would put them together in more
than half of the cases with this probability (exactly half counts half): the rate at which members do has the posterior
Beta(c M + 1/2, (1 - c) M + 1/2) (Jeffreys' prior), and the number of further members that do is beta-binomial
(Gelman et al., Bayesian Data Analysis, 2013, section 2.4 and appendix A). Nothing in it is fitted.
"""

import numpy as np
from jaxtyping import Float

PRIOR = 0.5


def found_again(share: Float[np.ndarray, "*shape"], n_members: int) -> Float[np.ndarray, "*shape"]:
    """The probability above, elementwise.

    Args:
        share: co-association, 0 to 1; NaN stays NaN.
        n_members: in which it was seen, and of the other ensemble; at least 1.
    """
    from scipy.stats import betabinom

    c = np.clip(np.asarray(share, np.float64), 0, 1)
    a, b = c * n_members + PRIOR, (1 - c) * n_members + PRIOR
    above = betabinom.sf(n_members // 2, n_members, a, b)
    if n_members % 2 == 0:
        above = above + betabinom.pmf(n_members // 2, n_members, a, b) / 2
    return np.where(np.isnan(c), np.nan, above)
