"""The report of many groups: how long measuring takes, how large the page is, and how quick it is in a browser.

    python -m benchmarks.report [--groups 5000] [--components 10000] [--samples 131072] [--active 100]
    python -m benchmarks.report --of DIRECTORY [--samples 131072]

Samples are made up: groups of components that fire together, tokens that follow the groups. The browser is a real
Chromium, started afresh, without a GPU; opening is timed by the page's own clock from navigation to the moment when
every row is in the table, a filter and a group from the key press to the next frame.

With `--of`, of a real ensemble or run: the report's data, from the directory to the content of report.json, effects
left out, against the bare forward pass with importances over the same items, of which nothing is kept. Both in this
process, by turns, after one small report that loads and compiles what is needed once. Memory is what the process grows
by beyond its peak after the first bare pass, the model and a batch being in that.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spd.clustering.activations import component_activations
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory
from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.directory import open_directory
from spd.clustering.report.firing_code import with_code
from spd.clustering.report.grouping import from_history
from spd.clustering.report.limits import MAX_PAGE_BYTES
from spd.clustering.report.make import ReportOptions, report_content, write_report
from spd.clustering.report.model_data import ModelData, model_data
from spd.clustering.report.model_inputs import ModelInputs
from spd.clustering.report.samples import Samples
from spd.data import iter_batches
from spd.machine import cpu_seconds, peak_bytes
from spd.text import byte_count, table_lines

LENGTH, VOCABULARY = 128, 4019


def made_up_samples(n_components: int, n_groups: int, n_samples: int, active: int, seed: int = 0) -> Samples:
    """About `active` components active on each sample, those of a group together; 24 modules."""
    rng = np.random.default_rng(seed)
    n_sequences = n_samples // LENGTH
    tokens = (rng.zipf(1.3, (n_sequences, LENGTH)) - 1) % VOCABULARY
    group_of = np.arange(n_components) % n_groups
    rates = rng.lognormal(0, 1.2, n_groups)
    rates *= active / (0.7 * (rates[group_of]).sum())
    rows, columns = [], []
    for group in range(n_groups):
        fired = np.flatnonzero(rng.random(n_sequences * LENGTH) < min(1.0, rates[group]))
        for component in np.flatnonzero(group_of == group):
            kept = fired[rng.random(len(fired)) < 0.7]
            rows.append(kept.astype(np.int32))
            columns.append(np.full(len(kept), component, np.int32))
    row, column = np.concatenate(rows), np.concatenate(columns)
    order = np.lexsort((column, row))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_sequences * LENGTH))])
    values = rng.uniform(0.05, 1, len(row)).astype(np.float32)
    labels = [f"h.{i % 24 // 2}.mlp.{('c_fc', 'down_proj')[i % 2]}:{i // 24}" for i in range(n_components)]
    memberships = Memberships(indptr, column[order], values, labels)
    return Samples(
        memberships, 0.01, "language", tokens=tokens, decode=lambda ids: [f" tok{i}" if i % 3 else f"t{i}" for i in ids]
    )


def made_up_history(samples: Samples, n_groups: int) -> MergeHistory:
    """The made-up groups first, one component after the other; then nothing more."""
    from spd.clustering.math.merge_paths import component_merges_to_pairs

    n = samples.memberships.n_components
    merges = np.array([[i % n_groups, i] for i in range(n_groups, n)])
    pairs = component_merges_to_pairs(merges, n)
    return MergeHistory(samples.memberships.labels, MergeConfig(iters=None), pairs, np.full(len(pairs), -0.1))


def time_in_browser(page: Path) -> dict[str, float]:
    """Seconds to open, and milliseconds for filters, sorting, another cut and a group (medians)."""
    from tests.clustering.report import browser

    with tempfile.TemporaryDirectory() as profile:
        drivers = browser.start(Path(profile))
        driver: Any = next(drivers)
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        browser.resize(driver, 1280, 900)
        opened = []
        for _ in range(3):
            browser.open_page(driver, page)
            opened.append(driver.execute_script("return performance.getEntriesByName('ready')[0].startTime") / 1000)
        found = {"open (s)": float(np.median(opened))}
        for name, before, action in (
            ("filter size>1", "type('none at all')", "type('size>1')"),
            ("filter *mlp.c_fc", "type('')", "type('*mlp.c_fc')"),
            ("filter tok77", "type('')", "type('tok77')"),
            ("filter nothing", "type('*mlp.c_fc')", "type('')"),
            ("sort by rate", "", "document.querySelector('th[data-key=rate] button').click()"),
            ("other cut", "", "slide()"),
            ("open a group", "", "location.hash = 'group-' + (Number(location.hash.slice(7) || 0) + 1)"),
        ):
            times = [_time(driver, before, action) for _ in range(7)]
            found[f"{name} (ms)"], found[f"{name}, CPU (ms)"] = np.median(times, axis=0).tolist()
        assert not browser.complaints(driver)
        drivers.close()  # type: ignore[attr-defined]
    return found


def _time(driver: Any, before: str, action: str) -> tuple[float, float]:
    """Milliseconds by the clock to the next frame, and of CPU time of the page's thread."""
    driver.execute_script(_WAYS + before)
    time.sleep(0.4)
    used = _cpu_ms(driver)
    by_clock = driver.execute_async_script(_TIMED % action)
    return by_clock, _cpu_ms(driver) - used


def _cpu_ms(driver: Any) -> float:
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return 1000 * next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


_WAYS = """
const box = document.getElementById("filter");
const type = (text) => { box.value = text; box.dispatchEvent(new Event("input")); };
const slide = () => {
  const slider = document.getElementById("slider");
  slider.value = Number(slider.value) - 7;
  slider.dispatchEvent(new Event("input"));
};
"""
_TIMED = f"""{_WAYS}
const done = arguments[arguments.length - 1];
const start = performance.now();
%s;
requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
"""


def time_of_model(directory: Path, n_samples: int, repeats: int = 2) -> list[list[str]]:
    """Rows of a table: the report's data against the bare forward pass with importances."""
    opened = open_directory(directory)
    assert opened.config is not None, "a run or an ensemble with its config"
    data = model_data(opened.config)
    assert data is not None, "clusterings of a model"
    options = ReportOptions(n_samples=n_samples, n_effects=0)
    report_content(directory, ReportOptions(n_samples=1024, n_effects=0))
    model = ModelInputs.load(data.path)
    n_items = -(-n_samples // model.samples_per_item)
    bare, whole, grown = [], [], 0
    for _ in range(repeats):
        bare.append(_timed(lambda: _bare_pass(model, data, n_items)))
        before = peak_bytes()
        whole.append(_timed(lambda: report_content(directory, options)))
        grown = max(grown, peak_bytes() - before)
    (bare_wall, bare_cpu), (wall, cpu) = np.median(bare, axis=0), np.median(whole, axis=0)
    return [
        ["components; groups", f"{len(opened.grouping.labels):,}; {opened.grouping.n_groups:,}"],
        ["samples", f"{n_items * model.samples_per_item:,}"],
        ["bare forward pass with importances (s; CPU)", f"{bare_wall:.1f}; {bare_cpu:.1f}"],
        ["data of the report (s; CPU)", f"{wall:.1f}; {cpu:.1f}"],
        ["of 1.5 x the bare pass + 60 s", f"{wall / (1.5 * bare_wall + 60):.2f}; {cpu / (1.5 * bare_cpu + 60):.2f}"],
        ["memory beyond the bare pass", byte_count(grown)],
    ]


def _bare_pass(model: ModelInputs, data: ModelData, n_items: int) -> None:
    for batch in iter_batches(
        model.info, n_items, data.seed, micro_batch_size=data.micro_batch_size, streaming=data.streaming
    ):
        component_activations(model.model, model.device, batch)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    started, cpu = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - started, cpu_seconds() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("groups", 5000), ("components", 10_000), ("samples", 131_072), ("active", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--of", type=Path, metavar="DIRECTORY", help="of an ensemble or run of a model")
    arguments = parser.parse_args()
    if arguments.of is not None:
        rows = [["report of a model", "value"], *time_of_model(arguments.of, arguments.samples)]
        print("\n".join(table_lines(rows, numbers=False)))
        return
    samples = made_up_samples(arguments.components, arguments.groups, arguments.samples, arguments.active)
    history = made_up_history(samples, arguments.groups)
    before, started, cpu = peak_bytes(), time.perf_counter(), cpu_seconds()
    grouping = from_history(history, len(history), "made up")
    content = build_content(grouping, samples, Subject({"name": "made up"}, {"alpha": 1.0}, history=history))
    measured, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    fitting = cpu_seconds()
    with_code(grouping, samples)
    fitting = cpu_seconds() - fitting
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        page = write_report(content, Path(directory) / "report.html")
        written = time.perf_counter() - started
        rows = [
            ["groups", f"{grouping.n_groups:,}"],
            ["active entries", f"{samples.memberships.nnz:,}"],
            ["measuring (s)", f"{measured:.1f}"],
            ["measuring, CPU (s)", f"{cpu:.1f}"],
            ["codes of a consensus, CPU (s)", f"{fitting:.1f}"],
            ["memory beyond the samples", byte_count(peak_bytes() - before)],
            ["writing (s)", f"{written:.1f}"],
            [f"page (at most {MAX_PAGE_BYTES >> 20} MiB)", byte_count(page.stat().st_size)],
            ["JSON", byte_count(page.with_suffix(".json").stat().st_size)],
        ]
        for name, value in time_in_browser(page).items():
            rows.append([name, f"{value:.2f}" if "(s)" in name else f"{value:.0f}"])
    print("\n".join(table_lines([["report", "value"], *rows], numbers=False)))


if __name__ == "__main__":
    main()
