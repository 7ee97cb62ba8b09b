"""The page in a real Chromium, to somebody who reads one group after the other: what is said first, what a filter
finds, where words are explained, and what a printer gets."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spd.clustering.memberships import Memberships
from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.page import render_page
from spd.clustering.report.samples import Samples
from tests.clustering.report import browser
from tests.clustering.report.browser import ids, texts, type_filter, wait
from tests.clustering.report.fixtures import LABELS, grouping_of, history_of_pairs, language_samples

pytestmark = pytest.mark.slow

WORDS = ["The", " capital", " of", " Spain", " is", " Madrid", ".", " king", " thekin"]
SENTENCES = [[0, 1, 2, 3, 4, 5, 6], [0, 7, 4, 8, 6, 0, 7]]


def sentences() -> Samples:
    """Two sentences, again and again: a component pair on ` is`, stronger in the first; one on `The`, now and then on
    ` is`; one on ` thekin`; one on the rest."""
    tokens = np.array(SENTENCES * 40)
    values = np.zeros((tokens.size, 8), np.float32)
    flat, place = tokens.reshape(-1), np.arange(tokens.size)
    is_first = np.repeat(np.arange(len(tokens)) % 2 == 0, tokens.shape[1])
    values[flat == 4, 0:2] = 0.3
    values[(flat == 4) & is_first, 0:2] = 0.9
    values[flat == 0, 2:4] = 0.8
    values[(flat == 4) & (place % 35 < 7), 2:4] = 0.05
    values[flat == 8, 4:6] = 0.7
    values[np.isin(flat, [1, 2, 3, 5, 6, 7]), 6:8] = 0.6
    memberships = Memberships.from_activations(values, LABELS[:8], None)
    return Samples(memberships, 0.01, "language", tokens=tokens, decode=lambda ids: [WORDS[i] for i in ids])


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    subject = Subject({"name": "sentences"}, {"alpha": 1.0, "threshold": 0.9, "cut": "by hand"})
    return build_content(grouping_of([0, 0, 1, 1, 2, 2, 3, 3]), sentences(), subject)


def written(content: dict[str, Any], directory: Path) -> Path:
    path = directory / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> Path:
    return written(content, tmp_path_factory.mktemp("sentences"))


@pytest.fixture(scope="module")
def with_cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    subject = Subject({"name": "cuts"}, {"alpha": 1.0}, history=history_of_pairs())
    return written(
        build_content(grouping_of([i // 2 for i in range(12)]), language_samples(), subject),
        tmp_path_factory.mktemp("cuts"),
    )


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ('" is"', [0]),  # group 1 fires on it, too, but is hardly ever on it
        ('"is"', []),  # not the whole token
        (" is", [0]),
        ("thekin", [2]),
        ('" king"', [3]),
        ("next:madrid", [0]),
        ('next:" Madrid"', [0]),
        ('next:"Madrid"', []),
        ("next:kin", [0, 1]),  # ` thekin` and ` king`
        ("-next:kin", [2, 3]),
        ("NEXT:Madrid size>1", [0]),
        ("next:nobody", []),
    ],
)
def test_a_filter_finds_what_a_group_is_mostly_on_and_what_comes_next(
    driver: Any, page: Path, content: dict[str, Any], typed: str, found: list[int]
) -> None:
    on_is = next(group for group in content["groups"] if group["id"] == 1)["tokens"]
    assert 0 < next(token["weight"] for token in on_is if token["id"] == 4) < 0.12 * on_is[0]["weight"]
    browser.open_page(driver, page)
    type_filter(driver, typed)
    assert ids(driver) == found
    note = texts(driver, "#filter-note")[0]
    assert note == "" if found else "next:word" in note


def test_the_nearest_group_is_a_click_away(driver: Any, page: Path, content: dict[str, Any]) -> None:
    browser.open_page(driver, page)
    group = next(group for group in content["groups"] if group["around"])
    near = group["around"][0]["group"]
    driver.find_element("css selector", f"#row-{group['id']} .c-near a").click()
    wait(driver, lambda d: texts(d, "#group h2"))
    assert texts(driver, "#group h2")[0].startswith(f"Group {near}")
    assert driver.execute_script("return location.hash") == f"#group-{near}"


def test_what_a_group_does_is_said_before_its_figures(driver: Any, page: Path) -> None:
    browser.open_page(driver, page, "#group-0")
    wait(driver, lambda d: texts(d, "#group .legend"))
    head = texts(driver, ".group-head > *")
    short = next(at for at, text in enumerate(head) if text.startswith("In short"))
    figures = next(at for at, text in enumerate(head) if "components" in text and "fires on" in text and at != short)
    assert short < figures
    chips = texts(driver, ".group-head .short .chip")
    assert {"\u00b7Madrid", "\u00b7thekin", "\u00b7Spain", "\u00b7king"} <= set(chips)  # both what precedes and follows


def test_the_first_places_are_shown_and_the_others_on_demand(driver: Any, page: Path, content: dict[str, Any]) -> None:
    browser.open_page(driver, page, "#group-0")
    wait(driver, lambda d: texts(d, "#group .contexts"))
    visible = (
        "return [...document.querySelector('#group > section').querySelectorAll('li')]"
        ".filter((one) => one.checkVisibility()).length"
    )
    assert driver.execute_script(visible) == 8
    assert texts(driver, "#group .more > summary") == ["12 more, all 0.90"]
    driver.find_element("css selector", "#group .more > summary").click()
    assert driver.execute_script(visible) == 20
    assert texts(driver, "#group .weaker h4") == ["Half of its maximum and more", "A quarter to half of its maximum"]
    assert len(texts(driver, "#group .contexts > li")) == len(content["groups"][0]["contexts"])


def test_words_are_explained_above_the_table_and_from_the_head_of_a_group(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    tops = driver.execute_script(
        "return ['words', 'groups'].map((id) => document.getElementById(id).getBoundingClientRect().top)"
    )
    assert tops[0] < tops[1]
    summaries = driver.find_elements("css selector", "#words summary")
    for summary in summaries:
        assert summary.is_displayed()
        summary.click()
    settings = texts(driver, "#words .settings")
    assert ["threshold0.9" in text for text in settings] == [True, False]  # of the groups
    assert ["threshold0.01" in text for text in settings] == [False, True]  # of the samples
    assert "previous group" in texts(driver, "#words")[0]
    browser.open_page(driver, page, "#group-0")
    wait(driver, lambda d: texts(d, "#group .legend"))
    legend = driver.find_element("css selector", "#group .legend")
    assert legend.get_attribute("open") is None
    driver.find_element("css selector", "#group .help").click()
    assert legend.get_attribute("open") is not None
    box = driver.execute_script("return arguments[0].getBoundingClientRect().top", legend)
    assert 0 <= box < 900


def test_paper_says_which_cut_and_filter_it_shows(driver: Any, with_cuts: Path) -> None:
    browser.open_page(driver, with_cuts, "#cut-8")
    type_filter(driver, "size>1 -\u202e#99")
    order = "return [...document.querySelectorAll('#index > *')].map((one) => one.id)"
    before = driver.execute_script(order)
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    printed = texts(driver, "#printed")[0]
    assert printed.startswith("4 of 8 groups \u00b7 filter: size>1 -\u27e8202E\u27e9#99 \u00b7 cut at 8 groups, ")
    assert driver.execute_script(order)[-1] == "words"
    assert driver.execute_script("return [...document.querySelectorAll('#words details')].every((one) => one.open)")
    driver.execute_script("dispatchEvent(new Event('afterprint'))")
    assert texts(driver, "#printed") == [""]
    assert driver.execute_script(order) == before
    assert not driver.execute_script("return document.querySelector('details.legend[open]')")


def test_paper_has_the_verdict_the_place_and_the_effect_of_a_row(driver: Any, page: Path) -> None:
    browser.resize(driver, 720, 1000)
    browser.open_page(driver, page)
    assert not driver.find_element("css selector", "#rows .c-place").is_displayed()
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        for name in ("id", "what", "place", "verdict", "size", "rate"):
            cell = driver.find_element("css selector", f"#rows .c-{name}")
            assert cell.is_displayed(), name
            assert cell.rect["width"] > 20, name
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 720
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    for address in ("", "#group-0"):
        browser.open_page(driver, page, address)
        found = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
        assert base64.b64decode(found["data"]).startswith(b"%PDF-")
