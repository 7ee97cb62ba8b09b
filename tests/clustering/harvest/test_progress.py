import pytest

from spd.clustering.harvest.progress import HarvestProgress


@pytest.mark.parametrize(
    ("n_expected", "seconds", "n_done", "text"),
    [
        (100_000, 3.0, 12_288, "12,288 of 100,000 samples, 4,096/s, 0:21 left"),
        (100_000, 0.0, 0, "0 of 100,000 samples"),
        (100_000, 10.0, 100_000, "100,000 of 100,000 samples, 10,000/s, 0:00 left"),
        (1_000_000, 100.0, 10_000, "10,000 of 1,000,000 samples, 100/s, 2:45:00 left"),
        (40, 8.0, 20, "20 of 40 samples, 2.5/s, 0:08 left"),
        (None, 2.0, 500, "500 samples, 250/s"),
    ],
)
def test_how_far_how_fast_how_long(n_expected: int | None, seconds: float, n_done: int, text: str) -> None:
    times = iter([50.0, 50.0 + seconds])
    assert HarvestProgress(n_expected, clock=lambda: next(times)).describe(n_done) == text
