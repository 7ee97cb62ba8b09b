"""The page in a real Chromium: thousands of groups, what speaks against a group, what is sent to a printer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spd.clustering.math.merge_paths import component_merges_to_pairs
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory
from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.grouping import from_history, from_mapping
from spd.clustering.report.page import render_page
from tests.clustering.report import browser
from tests.clustering.report.browser import ids, texts, type_filter, wait
from tests.clustering.report.fixtures import small_content
from tests.clustering.report.take_pictures import group_to_show, take_pictures

pytestmark = pytest.mark.slow


N_MANY = 5000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of so many groups that rows out of view are not laid out."""
    clusters = {f"h.{i % 4}.mlp:{i // 4}": i // 2 for i in range(2 * N_MANY)}
    content = build_content(from_mapping(clusters, "by number"), None, Subject({"name": "many"}, {}))
    path = tmp_path_factory.mktemp("many") / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    return path


def laid_out(driver: Any) -> list[int]:
    """Numbers of the rows that have a height, with all their cells."""
    return driver.execute_script(
        "return [...document.querySelectorAll('#rows > tr')]"
        ".filter((row) => row.offsetHeight && row.children.length > 2).map((row) => Number(row.dataset.id))"
    )


def test_many_groups_have_a_row_each_at_once(driver: Any, many: Path) -> None:
    browser.open_page(driver, many)
    assert ids(driver) == list(range(N_MANY))
    assert 0 < len(laid_out(driver)) < 200
    filtered = driver.execute_script(
        "const box = document.getElementById('filter'); box.value = '*h.1.mlp:*7';"
        "box.dispatchEvent(new Event('input'));"
        "return [...document.querySelectorAll('#rows > tr')].map((row) => Number(row.dataset.id))"
    )
    assert filtered == [i // 2 for i in range(2 * N_MANY) if i % 4 == 1 and str(i // 4).endswith("7")]
    type_filter(driver, "no group is called so")
    assert ids(driver) == []
    driver.find_element("id", "filter").clear()
    type_filter(driver, "size>1")
    assert ids(driver) == list(range(N_MANY))


def test_many_groups_are_laid_out_where_they_are_seen(driver: Any, many: Path) -> None:
    browser.open_page(driver, many)
    height = driver.execute_script("return document.documentElement.scrollHeight")
    assert height > 32 * N_MANY
    driver.execute_script("scrollTo(0, 32 * 1500)")
    wait(driver, lambda d: 1500 in laid_out(d))
    assert len(laid_out(driver)) < 200
    assert driver.execute_script("return document.documentElement.scrollHeight") == height
    middle = "const row = document.elementFromPoint(300, 450).closest('tr'); return row && row.children.length"
    assert driver.execute_script(middle) > 2
    browser.open_page(driver, many, "#group-4000")
    wait(driver, lambda d: 4000 in laid_out(d))
    box = driver.execute_script("return document.getElementById('row-4000').getBoundingClientRect().top")
    assert 0 <= box <= 900


def test_a_cut_of_few_groups_has_no_empty_room(driver: Any, tmp_path: Path) -> None:
    n = 1600
    labels = [f"h.0.mlp:{i}" for i in range(n)]
    pairs = component_merges_to_pairs(np.array([[i - i % 4, i] for i in range(n) if i % 4]), n)
    history = MergeHistory(labels, MergeConfig(iters=None), pairs, np.full(len(pairs), -0.1))
    content = build_content(from_history(history, 100, "few merges"), None, Subject({"name": "m"}, {}, history=history))
    path = tmp_path / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    browser.open_page(driver, path)
    assert len(ids(driver)) == 1500
    assert 0 < len(laid_out(driver)) < 200
    driver.execute_script("scrollTo(0, 32 * 1000)")
    wait(driver, lambda d: any(row > 1000 for row in laid_out(d)))
    slide = "const s = document.getElementById('slider'); s.value = 400; s.dispatchEvent(new Event('input'))"
    driver.execute_script(slide)
    assert len(laid_out(driver)) == 400
    assert driver.execute_script("return document.getElementById('rows').offsetHeight") == 32 * 400


def test_many_groups_are_found_by_the_browser_and_printed(driver: Any, many: Path) -> None:
    browser.open_page(driver, many)
    shown = "return [...document.querySelectorAll('#rows > tr')].filter((row) => row.offsetHeight).length"
    driver.execute_script("dispatchEvent(new KeyboardEvent('keydown', { key: 'f', ctrlKey: true }))")
    assert driver.execute_script(shown) == N_MANY
    driver.execute_script("scrollTo(0, 32 * 3000)")
    wait(driver, lambda d: 3000 in laid_out(d))
    driver.execute_script("dispatchEvent(new Event('afterprint'))")
    assert driver.execute_script(shown) < 200
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert driver.execute_script(shown) == N_MANY
    driver.execute_script("dispatchEvent(new Event('afterprint'))")
    assert 0 < len(laid_out(driver)) < 200


def test_what_speaks_against_a_group(driver: Any, tmp_path: Path) -> None:
    content = small_content()
    for at, group in enumerate(content["groups"]):
        group["remarks"] = ["seldom together"] if at == 1 else []
        group["verdict"] = "core" if group["size"] > 1 else "alone"
    path = tmp_path / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    browser.open_page(driver, path)
    doubted = content["groups"][1]["id"]
    warned = [row for row in texts(driver, "#rows tr") if "!" in row]
    assert len(warned) == 1
    type_filter(driver, "trusted")
    assert ids(driver) == [g["id"] for g in content["groups"] if g["size"] > 1 and g["id"] != doubted]
    browser.open_page(driver, path, f"#group-{doubted}")
    wait(driver, lambda d: texts(d, ".caution"))
    assert "seldom active together" in texts(driver, ".caution")[0]


def test_a_split_group_shows_its_stable_parts(driver: Any, tmp_path: Path) -> None:
    content = small_content()
    group = content["groups"][0]
    for at, member in enumerate(group["members"]):
        member["part"] = None if at == 0 else 7 if at < 3 else 4
    path = tmp_path / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    browser.open_page(driver, path, f"#group-{group['id']}")
    wait(driver, lambda d: texts(d, "#group h2"))
    counts = sorted([2, group["size"] - 3], reverse=True)
    expected = [f"{letter} {count} components" for letter, count in zip("ab", counts, strict=True)]
    assert texts(driver, "#group .short .pair") == expected
    assert sorted(filter(None, texts(driver, "#group td.part"))) == ["a"] * counts[0] + ["b"] * counts[1]


def test_the_index_shows_the_strongest_place(driver: Any, tmp_path: Path) -> None:
    content = small_content()
    path = tmp_path / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    browser.open_page(driver, path)
    shown = texts(driver, "#rows .c-place .token.at")
    tokens = [token for row in content["data"]["tokens"] for token in row]
    places = [tokens[group["contexts"][0]["sample"]] for group in content["groups"] if group["contexts"]]
    plain = {token for token in places if content["token_texts"][str(token)].startswith(" word")}
    assert len(shown) == len(places)
    assert all(
        text == content["token_texts"][str(token)] for text, token in zip(shown, places, strict=True) if token in plain
    )


def test_the_pictures_of_the_readme_are_taken(tmp_path: Path) -> None:
    content = small_content()
    for group in content["groups"]:
        group["verdict"] = "stable" if group["size"] > 1 else "alone"
        group["remarks"] = []
    (tmp_path / "report.html").write_text(render_page(content), encoding="utf-8")
    (tmp_path / "report.json").write_text(json.dumps(content))
    assert group_to_show(content) == 0  # the one with an effect
    for path in take_pictures(tmp_path, tmp_path):
        header = path.read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(header[16:20], "big") == 1280
