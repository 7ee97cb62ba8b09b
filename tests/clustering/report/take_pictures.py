"""The pictures of the README and docs/report.md: the index, and one group.

    python -m tests.clustering.report.take_pictures [ENSEMBLE] [--output docs/images]

ENSEMBLE is the directory of one with a report. Without it the bundled language example is clustered first (minutes).
The group is the largest whose verdict is good and whose effect is specific.
"""

import argparse
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from spd.settings import REPO_ROOT

CONFIG = REPO_ROOT / "spd" / "clustering" / "configs" / "pipeline_example_lm.yaml"
TRUSTED = ("core", "stable", "sure", "tight")
WIDTH, INDEX_HEIGHT, GROUP_HEIGHT = 1280, 800, 900


def cluster_the_example(out_dir: Path) -> Path:
    """The ensemble of the bundled language example, with its report."""
    from spd.clustering.scripts.run_pipeline import main

    os.environ["SPD_OUT_DIR"] = str(out_dir)
    assert main(["--config", str(CONFIG), "--local"]) == 0, "the pipeline failed"
    return next((out_dir / "clustering" / "ensembles").iterdir())


def group_to_show(content: dict[str, Any]) -> int:
    """The number of the group in the second picture."""
    groups = content["groups"]
    good = [
        group["id"]
        for group in groups
        if group["verdict"] in TRUSTED and group.get("effect", {}).get("verdict") == "specific" and not _doubts(group)
    ]
    return int(good[0] if good else groups[0]["id"])


def _doubts(group: dict[str, Any]) -> bool:
    return bool({"hub", "positional", "seldom together", "never together"} & set(group["remarks"]))


def take_pictures(ensemble: Path, output: Path) -> list[Path]:
    """Write report_index.png and report_group.png."""
    from selenium.webdriver.common.by import By

    from tests.clustering.report import browser

    page = ensemble / "report.html"
    group = group_to_show(json.loads(page.with_suffix(".json").read_text()))
    found = []
    with tempfile.TemporaryDirectory() as profile:
        drivers = browser.start(Path(profile))
        driver = next(drivers)
        for name, height, address in (("index", INDEX_HEIGHT, ""), ("group", GROUP_HEIGHT, f"#group-{group}")):
            browser.resize(driver, WIDTH, height)
            browser.open_page(driver, page, address)
            if address:
                browser.wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, "#group .contexts"))
            path = output / f"report_{name}.png"
            _save_small(driver.get_screenshot_as_png(), path)
            found.append(path)
        assert not browser.complaints(driver)
        drivers.close()  # type: ignore[attr-defined]
    return found


def _save_small(screenshot: bytes, path: Path) -> None:
    """With 256 colours, which are enough for a page of few: a third of the size. By coverage, so that the small marks
    of verdicts keep theirs."""
    from PIL import Image

    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ensemble", type=Path, nargs="?", metavar="ENSEMBLE")
    parser.add_argument("--output", type=Path, default=REPO_ROOT / "docs" / "images")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for path in take_pictures(arguments.ensemble or cluster_the_example(Path(directory)), arguments.output):
            print(path)


if __name__ == "__main__":
    main()
