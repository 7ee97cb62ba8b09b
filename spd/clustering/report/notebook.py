"""In a notebook: an ensemble, a run or a harvest by its directory, with its groups and its report at hand.

from spd.clustering.report.notebook import load
found = load("demo_out/clustering/ensembles/e-...")
found                                   # shows itself
found.table()                           # one row a group
found.members(12)                       # labels
found.content(n_samples=16384)          # what report.json holds, measured now
found.report()                          # writes the page, and gives its path
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.labels import module_of
from spd.clustering.merge_history import MergeHistory
from spd.clustering.report.directory import Opened, open_directory
from spd.clustering.report.grouping import Grouping
from spd.clustering.report.make import ReportOptions, make_report, report_content
from spd.errors import SPDError
from spd.text import html_card

if TYPE_CHECKING:
    import pandas as pd

N_ROWS = 20


def load(directory: Path | str, mapping: Path | str | None = None) -> "Loaded":
    """Load an ensemble, a run, or a harvest with a mapping.

    Raises:
        SPDError: it is none of them, is not finished, or a file in it is damaged.
    """
    return Loaded(open_directory(directory, mapping), ReportOptions(mapping=None if mapping is None else Path(mapping)))


@dataclass(frozen=True, eq=False)
class Loaded:
    """What a directory holds.

    Attributes:
        opened: the directory as it was read.
        options: of its report.
    """

    opened: Opened
    options: ReportOptions = field(default_factory=ReportOptions)

    @property
    def directory(self) -> Path:
        return self.opened.directory

    @property
    def groups(self) -> Grouping:
        """The partition, with confidence and verdicts as far as they are known."""
        return self.opened.grouping

    @property
    def history(self) -> MergeHistory | None:
        """The merges: the run's, or of an ensemble those of its representative member."""
        return self.opened.history

    @property
    def config(self) -> ClusteringRunConfig | None:
        """What was clustered."""
        return self.opened.config

    def members(self, group: int) -> list[str]:
        """The labels of a group, by its number in mapping files and in the report.

        Raises:
            SPDError: there is no such group.
        """
        places = np.flatnonzero(self.groups.ids == group)
        if not places.size:
            raise SPDError(f"there is no group {group}, groups are {self.groups.ids.min()} .. {self.groups.ids.max()}")
        return [self.groups.labels[component] for component in self.groups.members[int(places[0])]]

    def table(self) -> "pd.DataFrame":
        """One row a group, the largest first: id, size, verdict, confidence, modules."""
        import pandas as pd

        return pd.DataFrame(self._rows)

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        groups = self.groups
        found = []
        for place in groups.by_size:
            members = groups.members[int(place)]
            modules = Counter(module_of(groups.labels[component]) for component in members)
            confidence = None if groups.confidence is None else float(np.nanmean(groups.confidence[members]))
            found.append(
                {
                    "id": int(groups.ids[place]),
                    "size": len(members),
                    "verdict": groups.verdicts.get(int(place), ("alone" if len(members) == 1 else "", ""))[0],
                    "confidence": confidence,
                    "modules": ", ".join(f"{module} {count}" for module, count in modules.items()),
                }
            )
        return found

    def content(self, *, n_samples: int | None = None, n_effects: int = 0) -> dict[str, Any]:
        """What report.json holds, measured now on this many samples.

        Raises:
            SPDError: see make.report_content.
        """
        changed = replace(self.options, n_effects=n_effects, n_samples=n_samples or self.options.n_samples)
        return report_content(self.directory, changed)

    def report(self, **options: Any) -> Path:
        """Write the page (options: of ReportOptions) and give its path.

        Raises:
            SPDError: see make.make_report.
        """
        return make_report(self.directory, replace(self.options, **options))

    def _repr_html_(self) -> str:
        sizes = [row["size"] for row in self._rows]
        n_alone = sum(size == 1 for size in sizes)
        facts = {
            "groups of two or more": len(sizes) - n_alone,
            "alone": n_alone,
            "components": len(self.groups.labels),
            "made by": self.groups.method,
        }
        columns = list(self._rows[0]) if self._rows else []
        rows = [[_text(value) for value in row.values()] for row in self._rows[:N_ROWS]]
        return html_card(f"{self.opened.kind} {self.directory.name}", facts, columns, rows, len(self._rows))


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
