"""The probability that another ensemble finds the same: against its integral, by hand, and by trial."""

import numpy as np
import pytest

from spd.clustering.consensus.found_again import PRIOR, found_again


def _by_integral(share: float, n: int) -> float:
    from scipy.integrate import quad
    from scipy.stats import beta, binom

    posterior = beta(share * n + PRIOR, (1 - share) * n + PRIOR)

    def most(rate: float) -> float:
        half = binom.pmf(n // 2, n, rate) / 2 if n % 2 == 0 else 0.0
        return float((binom.sf(n // 2, n, rate) + half) * posterior.pdf(rate))

    return quad(most, 0, 1, limit=200)[0]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_equals_the_integral_over_the_posterior(n: int) -> None:
    shares = np.linspace(0.3, 0.9, 4)
    assert found_again(shares, n) == pytest.approx([_by_integral(share, n) for share in shares], abs=1e-4)


def test_by_hand() -> None:
    # Two of two members: Beta(5/2, 1/2), and of two further members most (one: a half) do with the mean, 5/6.
    assert found_again(np.array(1.0), 2) == pytest.approx(5 / 6)
    # Four of four: Beta(9/2, 1/2); four, three, or (half) two of four further members, over 5 * 6 * 7 * 8.
    four, three, two = 4.5 * 5.5 * 6.5 * 7.5, 4 * 4.5 * 5.5 * 6.5 * 0.5, 6 * 4.5 * 5.5 * 0.5 * 1.5
    most = (four + three + two / 2) / 1680
    assert found_again(np.array([0.5, 0.0, 1.0]), 4) == pytest.approx([0.5, 1 - most, most])
    assert np.isnan(found_again(np.array([np.nan]), 4)).all()


def test_is_a_frequency_where_members_are_drawn_as_it_says() -> None:
    rng = np.random.default_rng(0)
    rates = rng.beta(PRIOR, PRIOR, size=200_000)  # the prior: rates near 0 and 1 are common
    seen, other = rng.binomial(4, rates), rng.binomial(4, rates)
    again = np.where(other == 2, 0.5, other > 2)
    for count in range(5):
        stated = float(found_again(np.array(count / 4), 4))
        assert again[seen == count].mean() == pytest.approx(stated, abs=0.01)
