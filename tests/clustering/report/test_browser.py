"""The page in a real Chromium: no error, no request; sort, filter, search, open, slider; hostile text stays text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spd.clustering.labels import component_labels
from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.effects import measure_effects
from spd.clustering.report.exports import mapping
from spd.clustering.report.grouping import from_mapping
from spd.clustering.report.model_data import ModelData
from spd.clustering.report.model_inputs import ModelInputs
from spd.clustering.report.page import render_page
from spd.clustering.report.samples import Samples
from tests.clustering.report import browser
from tests.clustering.report.browser import ids, texts, type_filter, wait
from tests.clustering.report.fixtures import HOSTILE, LABELS, grouping_of, small_content, toy_samples

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return small_content()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    return path


def test_the_index_shows_every_group(driver: Any, page: Path, content: dict[str, Any]) -> None:
    browser.open_page(driver, page)
    assert ids(driver) == [group["id"] for group in content["groups"]]
    sizes = texts(driver, "#rows .c-size")
    assert sizes == [str(group["size"]) for group in content["groups"]]
    assert len(texts(driver, "#pictures figure")) == 3
    assert driver.title == "Groups of <b>model</b> & </title>"
    assert "</script><script>alert(2)</script>" in texts(driver, "#about .note")[0]


def test_columns_sort_both_ways(driver: Any, page: Path, content: dict[str, Any]) -> None:
    browser.open_page(driver, page)
    by_rate = sorted(content["groups"], key=lambda group: -group["firing_rate"])
    head = driver.find_element("css selector", "th[data-key=rate] button")
    head.click()
    rates = {group["id"]: group["firing_rate"] for group in content["groups"]}
    assert [rates[i] for i in ids(driver)] == [group["firing_rate"] for group in by_rate]
    assert driver.find_element("css selector", "th[data-key=rate]").get_attribute("aria-sort") == "descending"
    head.click()
    assert [rates[i] for i in ids(driver)] == [group["firing_rate"] for group in reversed(by_rate)]


@pytest.mark.parametrize(
    ("words", "keeps"),
    [
        ("size>2", lambda group: group["size"] > 2),
        ("size<=2 rate>0.05", lambda group: group["size"] <= 2 and group["firing_rate"] > 0.05),
        ("*attn", lambda group: any(module.endswith("attn") for module in group["modules"])),
        ("h.1.mlp:2", lambda group: "h.1.mlp:2" in {member["label"] for member in group["members"]}),
        ("-size>2", lambda group: group["size"] <= 2),
        ("alone", lambda group: group["verdict"] == "alone"),
        ("#1", lambda group: group["id"] == 1),
        ('"<script>"', lambda group: group["label"] == HOSTILE[0]),
        ("effect>0.1", lambda group: "effect" in group),
        ("nothing-is-called-so", lambda group: False),
    ],
)
def test_filters(
    driver: Any, page: Path, content: dict[str, Any], words: str, keeps: Callable[[dict[str, Any]], bool]
) -> None:
    browser.open_page(driver, page)
    type_filter(driver, words)
    expected = [group["id"] for group in content["groups"] if keeps(group)]
    assert ids(driver) == expected
    assert driver.find_element("id", "count").text.startswith(str(len(expected)))


def test_a_click_opens_a_group_and_escape_closes_it(driver: Any, page: Path, content: dict[str, Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open_page(driver, page)
    second = content["groups"][1]["id"]
    driver.find_element("css selector", "#rows tr:nth-child(2) .c-rate").click()
    wait(driver, lambda d: texts(d, "#group h2"))
    assert driver.execute_script("return location.hash") == f"#group-{second}"
    assert texts(driver, "#group h2")[0].startswith(f"Group {second}")
    driver.find_element("css selector", "body").send_keys("j")
    wait(driver, lambda d: texts(d, "#group h2")[0].startswith(f"Group {content['groups'][2]['id']}"))
    driver.find_element("css selector", "body").send_keys(Keys.ESCAPE)
    wait(driver, lambda d: not d.find_element("id", "group").is_displayed())


def test_numbers_of_a_group(driver: Any, page: Path, content: dict[str, Any]) -> None:
    group = content["groups"][0]
    browser.open_page(driver, page, f"#group-{group['id']}")
    wait(driver, lambda d: texts(d, "#group h2"))
    assert len(texts(driver, "#group .contexts > li")) == len(group["contexts"])
    first = group["contexts"][0]
    line = driver.find_element("css selector", "#group .contexts > li")
    assert len(line.find_elements("css selector", ".token")) == len(first["around"])
    at = line.find_element("css selector", ".token.at")
    tokens = content["data"]["tokens"]
    length = content["data"]["sequence_length"]
    assert f"token {tokens[first['sample'] // length][first['sample'] % length]}" in at.get_attribute("title")
    assert f"{first['n_active']} active" in at.get_attribute("title")
    sections = texts(driver, "#group h3")
    for name in ("Strongest places", "Fires on", "What comes next", "Effect", "Components", "Inside", "Around"):
        assert any(section.startswith(name) for section in sections), name
    shares = driver.execute_script(
        "return [...document.querySelectorAll('#group section')].find((one) => one.querySelector('h3').textContent"
        ".startsWith('Fires on')).querySelectorAll('tbody tr').length"
    )
    assert shares == len(group["tokens"])
    assert len(texts(driver, "#group .matrix rect")) == group["size"] ** 2
    assert len(texts(driver, "#group .tree circle")) == len(group["merges"])


def test_a_member_shows_its_own_places(driver: Any, page: Path) -> None:
    browser.open_page(driver, page, "#group-0")
    wait(driver, lambda d: d.find_elements("css selector", "button.link"))
    driver.find_element("css selector", "button.link").click()
    wait(driver, lambda d: texts(d, "tr.places h4") == ["Its own strongest places", "While its group fires"])
    driver.find_element("css selector", "button.link").click()
    wait(driver, lambda d: not texts(d, "tr.places"))


def test_hostile_text_is_only_text(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    assert "<script>alert(1)</script>" in texts(driver, "#rows .label")
    for group in (0, 1, 2, 3):
        browser.open_page(driver, page, f"#group-{group}")
        wait(driver, lambda d: texts(d, "#group h2"))
        everything = driver.execute_script("return document.body.textContent")
        assert "\u202e" not in driver.execute_script("return document.getElementById('main').textContent")
        assert "alert(1)" in everything
        assert driver.find_elements("css selector", "#main img, #main script, #top img") == []
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 1280


def test_tokens_that_read_alike_are_told_apart(driver: Any, page: Path, content: dict[str, Any]) -> None:
    same = {i for i, text in enumerate(HOSTILE) if text == "same"}
    group = next(g for g in content["groups"] if same <= {token["id"] for token in g["tokens"]})
    browser.open_page(driver, page, f"#group-{group['id']}")
    wait(driver, lambda d: texts(d, "#group h2"))
    chips = texts(driver, "#group .plain td:first-child .chip")
    assert {f"same {i}" for i in same} <= set(chips)


def test_the_slider_regroups(driver: Any, page: Path, content: dict[str, Any]) -> None:
    browser.open_page(driver, page)
    script = "const s = document.getElementById('slider'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))"
    driver.execute_script(script, 6)
    assert texts(driver, "#rows .c-size") == ["2"] * 6
    driver.execute_script(script, len(LABELS))
    assert texts(driver, "#rows .c-size") == ["1"] * len(LABELS)
    driver.execute_script(script, 1)
    assert texts(driver, "#rows .c-size") == [str(len(LABELS))]
    driver.find_element("css selector", "#rows a").click()
    wait(driver, lambda d: "Made of" in "".join(texts(d, "#group h3")))
    assert driver.execute_script("return location.hash").startswith("#cut-1-group-")
    browser.open_page(driver, page, "#cut-6")
    assert len(ids(driver)) == 6
    driver.find_element("id", "back").click()
    assert ids(driver) == [group["id"] for group in content["groups"]]


def test_an_address_of_no_group(driver: Any, page: Path) -> None:
    browser.open_page(driver, page, "#group-999")
    wait(driver, lambda d: "There is no group 999" in "".join(texts(d, "#group")))


@pytest.mark.parametrize("width", [400, 700, 801, 1041, 1099, 1280])
def test_nothing_is_wider_than_the_window(driver: Any, page: Path, width: int) -> None:
    browser.resize(driver, width, 800)
    for address in ("", "#group-0"):
        browser.open_page(driver, page, address)
        if address:
            wait(driver, lambda d: texts(d, "#group .contexts"))
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        # Every cell stands under its column's head, none on a second line.
        cells = driver.execute_script(
            "return ['#columns', '#rows > tr'].map((one) => [...document.querySelector(one).children]"
            ".filter((cell) => getComputedStyle(cell).display !== 'none' && !cell.matches('.c-verdict'))"
            ".map((cell) => [cell.className, Math.round(cell.getBoundingClientRect().right)]))"
        )
        if cells[0]:
            assert cells[0] == cells[1]
            assert all(right <= width for _, right in cells[0])


def test_light_and_dark(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    grounds = []
    for theme in ("light", "dark"):
        driver.find_element("id", "theme").click()
        assert driver.execute_script("return document.documentElement.dataset.theme") == theme
        grounds.append(driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_without_scripts_there_is_a_plain_table(driver: Any, page: Path, content: dict[str, Any]) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get("about:blank")
        driver.get(page.as_uri())
        rows = driver.find_elements("css selector", "noscript table tr")
        assert len(rows) == len(content["groups"]) + 1
        assert "<script>alert(1)</script>" in rows[1].text
        assert driver.find_element("css selector", "noscript table").rect["width"] <= 1280  # a token has 300 letters
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_table_is_exported(driver: Any, page: Path, tmp_path: Path, content: dict[str, Any]) -> None:
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.open_page(driver, page)
    driver.find_element("css selector", "#exports button:first-child").click()
    path = tmp_path / "groups.csv"
    wait(driver, lambda _: path.is_file() and path.stat().st_size)
    lines = path.read_text().splitlines()
    assert len(lines) >= len(content["groups"]) + 1
    assert "'=1+1" in path.read_text()


def test_the_mapping_of_the_cut_shown_is_exported(
    driver: Any, page: Path, tmp_path: Path, content: dict[str, Any]
) -> None:
    path = tmp_path / "groups_mapping.json"

    def exported() -> dict[str, Any]:
        path.unlink(missing_ok=True)
        driver.find_element("css selector", "#exports button:last-child").click()
        wait(driver, lambda _: path.is_file() and path.stat().st_size)
        return json.loads(path.read_text())

    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.open_page(driver, page)
    assert exported() == mapping(content)
    browser.open_page(driver, page, "#cut-6")
    found = exported()
    assert (found["iteration"], len(set(found["clusters"].values()))) == (len(LABELS) - 6 - 1, 6)
    assert found["clusters"][LABELS[0]] == found["clusters"][LABELS[1]] != found["clusters"][LABELS[2]]


def test_texts_of_a_matrix(driver: Any, tmp_path: Path) -> None:
    samples = toy_samples()
    texts_of = [f"<i>text</i> {at}" for at in range(samples.n_samples)]
    matrix = Samples(samples.memberships, samples.threshold, "matrix", texts=texts_of)
    content = build_content(grouping_of([i // 2 for i in range(12)]), matrix, Subject({"name": "mine"}, {}))
    path = tmp_path / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    browser.open_page(driver, path)
    tops = [texts_of[group["contexts"][0]["sample"]] for group in content["groups"]]
    assert texts(driver, "#rows .c-what .text") == tops
    browser.open_page(driver, path, "#group-0")
    wait(driver, lambda d: texts(d, "#group .context .text"))
    assert texts(driver, "#group .context .text")[0] == tops[0]


@pytest.mark.parametrize("name", ["resid_mlp2", "lm_words"])
def test_the_bundled_examples(driver: Any, tmp_path: Path, name: str) -> None:
    model = ModelInputs.load(f"example:{name}")
    labels = component_labels(dict.fromkeys(model.model.module_to_c, 20))
    grouping = from_mapping({label: int(label.split(":")[1]) // 2 for label in labels}, "by number")
    samples = model.samples(labels, 0.01, 1024, ModelData(f"example:{name}"))
    effects = measure_effects(model, samples, grouping, [0], n_items=8)
    content = build_content(grouping, samples, Subject({"name": name}, {"alpha": 1.0}), effects=effects)
    path = tmp_path / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    browser.open_page(driver, path)
    assert ids(driver) == [group["id"] for group in content["groups"]]
    for group in content["groups"][:3]:
        browser.open_page(driver, path, f"#group-{group['id']}")
        wait(driver, lambda d: texts(d, "#group h2"))
        shown = texts(driver, "#group .contexts > li .value")
        assert [float(value) for value in shown] == pytest.approx([c["strength"] for c in group["contexts"]], abs=6e-3)
        rate = next(text for text in texts(driver, "#group .fact") if text.startswith("fires on"))
        assert float(rate.removeprefix("fires on").rstrip("%")) / 100 == pytest.approx(group["firing_rate"], abs=6e-4)
