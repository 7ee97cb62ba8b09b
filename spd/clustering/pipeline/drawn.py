"""The memberships of a run while it is made: in its checkpoint, or named there where they are a harvest's.

checkpoint/memberships/    the run's own
checkpoint/harvest.json    directory: of a harvest's memberships; index_file: the fingerprint of their index, with
                           all checksums; seed: of the bootstrap of the samples, null: all of them
checkpoint/memberships.npz the run's own, of older versions
"""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from spd.clustering.memberships import Memberships
from spd.clustering.memberships.directory import INDEX
from spd.clustering.storage import RunPaths
from spd.errors import DamagedFileError
from spd.files.checked import read_json, write_json
from spd.files.fingerprint import Fingerprint, fingerprint


class DrawnFrom(NamedTuple):
    """Which samples of which memberships on disk.

    Attributes:
        directory: of the memberships.
        index_file: the fingerprint of their index.
        seed: see `resampled`.
    """

    directory: str
    index_file: Fingerprint
    seed: int | None

    @classmethod
    def of(cls, directory: Path, seed: int | None) -> Self:
        """As they are now.

        Raises:
            SPDError: they cannot be read.
        """
        return cls(str(directory), fingerprint(directory / INDEX), seed)

    def read(self, *, check: bool = False) -> Memberships:
        """The memberships.

        Args:
            check: see `read_memberships`.

        Raises:
            MissingFileError: they are gone.
            DamagedFileError: they are others now.
        """
        directory = Path(self.directory)
        if fingerprint(directory / INDEX) != self.index_file:
            raise DamagedFileError(f"{directory}: is not the harvest that the run was begun with")
        memberships = Memberships.open(directory)
        if check and self.seed is not None:
            memberships.entry_counts.sum()
        return resampled(memberships, self.seed)

    def write(self, paths: RunPaths) -> None:
        """Name them in a run's checkpoint.

        Raises:
            SPDError: the file cannot be written.
        """
        write_json(_named_in(paths), self._asdict())


def resampled(memberships: Memberships, seed: int | None) -> Memberships:
    """A bootstrap of the samples by this seed; None: all of them, as they are."""
    return memberships if seed is None else memberships.resample_rows(np.random.default_rng(seed))


def read_memberships(paths: RunPaths, *, check: bool = False) -> Memberships:
    """Those in a run's checkpoint.

    Args:
        check: read all entries that a bootstrap is drawn from once, and compare how often each component is active with
            what was written. A merge of all samples does so by itself; of some of them, each several times, it cannot.

    Raises:
        MissingFileError: there is nothing.
        DamagedFileError: a file is not whole, or the harvest is another one now.
    """
    path = _named_in(paths)
    if not path.is_file():
        return Memberships.load(paths.checkpoint_memberships)
    content = read_json(path, required=DrawnFrom._fields)
    directory, index, seed = (content[name] for name in DrawnFrom._fields)
    if not isinstance(directory, str) or not isinstance(index, dict) or not isinstance(seed, int | None):
        raise DamagedFileError(f"{path}: does not name a harvest")
    index_file = Fingerprint(size=index.get("size", 0), sha256=index.get("sha256", ""))
    return DrawnFrom(directory, index_file, seed).read(check=check)


def _named_in(paths: RunPaths) -> Path:
    return paths.checkpoint / "harvest.json"
