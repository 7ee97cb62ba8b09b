"""The page in a real Chromium, to a reader who has nothing else: every head and figure is explained, a filter that
cannot be read says so, what is missing says why, and the parts that are to be trusted are shown."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.grouping import POSTERIOR, Grouping
from spd.clustering.report.page import render_page
from spd.clustering.report.samples import Samples
from tests.clustering.report import browser
from tests.clustering.report.browser import ids, texts, type_filter, wait
from tests.clustering.report.fixtures import (
    HOSTILE,
    LABELS,
    grouping_of,
    history_of_pairs,
    language_samples,
    small_content,
    toy_samples,
)

pytestmark = pytest.mark.slow

GROUPS = [0] * 6 + [1, 1, 2, 2, 3, 4]
PARTS = np.array([7, 4, 7, -1, 4, 7, 5, 5, 6, -1, -1, -1])


def split_grouping() -> Grouping:
    """As of an ensemble: parts, confidence, verdicts, nested groups, components that move."""
    return replace(
        grouping_of(GROUPS),
        parts=PARTS,
        confidence=np.linspace(0.5, 1, len(LABELS)),
        secondary=((0, 1, 0.25),),
        nested=((1, 0, 0.5),),
        verdicts={0: ("split", "trust its 2 stable groups, not their union"), 2: ("uncertain", "trust its part only")},
    )


def content_of(samples: Samples | None, **settings: Any) -> dict[str, Any]:
    subject = Subject({"name": "m"}, {"alpha": 1.0, **settings}, history=history_of_pairs())
    effect = small_content()["groups"][0]["effect"]
    return build_content(split_grouping(), samples, subject, effects={0: effect} if samples is not None else {})


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of every kind of data."""
    directory = tmp_path_factory.mktemp("pages")
    matrix = Samples(toy_samples().memberships, 0.01, "matrix", texts=["<i>text</i>"] * 500)
    contents = {
        "language": content_of(language_samples(), n_members=3, mean_adjusted_rand=0.8),
        "toy": content_of(toy_samples()),
        "matrix": content_of(matrix),
        "unmeasured": content_of(None),
        "run": small_content(),
    }
    for name, content in contents.items():
        (directory / f"{name}.html").write_text(render_page(content), encoding="utf-8")
    return {name: directory / f"{name}.html" for name in contents}


def wait_for(driver: Any, selector: str) -> None:
    wait(driver, lambda d: texts(d, selector))


HEADS = """
const named = (one) => (one.querySelector('dt') || one).textContent;
const titled = (one) => one.title || (one.querySelector('button[title]') || {}).title || '';
const root = document.querySelector(arguments[0]);
const all = [...root.querySelectorAll('th, .fact')];
const pair = (...texts) => texts.join(': ');
const legend = [...root.querySelectorAll('.legend dt')].map((dt) => pair(dt.textContent, dt.nextSibling.textContent));
return all.map((one) => [named(one), titled(one), legend.includes(pair(named(one), titled(one)))]);
"""


@pytest.mark.parametrize("name", ["language", "toy", "matrix", "unmeasured", "run"])
def test_every_head_and_figure_is_explained_by_hand_and_in_the_legend(
    driver: Any, pages: dict[str, Path], name: str
) -> None:
    seen: set[str] = set()
    for address in ("", "#group-0", "#group-1", "#group-2", "#group-3", "#cut-2-group-0"):
        browser.open_page(driver, pages[name], address)
        root = "#group" if address else "#index"
        wait_for(driver, f"{root} .legend")
        heads = driver.execute_script(HEADS, root)
        assert heads
        for head, title, in_legend in heads:
            assert head.strip(), f"a head without a name beside {seen}"
            assert len(title) > 7, head
            assert in_legend, head
            seen.add(head)
    assert {"size", "group", "component", "group of the report"} <= seen
    if name == "language":
        assert {"fires on", "bits", "lift", "recall", "part", "Jaccard", "cost", "beats", "remark", "members"} <= seen


def test_a_picture_has_a_word_below_its_title(driver: Any, pages: dict[str, Path]) -> None:
    browser.open_page(driver, pages["language"])
    assert texts(driver, "#pictures figure")
    assert len(texts(driver, "#pictures figcaption small")) == len(texts(driver, "#pictures figure"))
    assert all(texts(driver, "#pictures figcaption small"))


def test_legends_are_printed(driver: Any, pages: dict[str, Path]) -> None:
    browser.open_page(driver, pages["language"], "#group-0")
    wait_for(driver, "#group .legend")
    is_open = "return document.querySelector('#group .legend').open"
    assert not driver.execute_script(is_open)
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert driver.execute_script(is_open)
    driver.execute_script("dispatchEvent(new Event('afterprint'))")
    assert not driver.execute_script(is_open)


def test_when_a_group_fires_is_said_where_its_rate_stands(driver: Any, tmp_path: Path) -> None:
    content = content_of(language_samples())
    group = next(group for group in content["groups"] if group["id"] == 1)
    path = tmp_path / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    browser.open_page(driver, path, "#group-1")
    wait_for(driver, ".firing")
    sentence = texts(driver, ".firing")[0]
    assert "Fires where any of its components is active" in sentence
    assert f"{group['mean_active']:.1f} of its 2 components at once" in sentence
    assert f"(more than half on {100 * group['most_rate']:.2f}%" in sentence
    assert "a group fires where any of its components is active" in texts(driver, "#subtitle")[0]
    posterior = content | {"settings": content["settings"] | {"firing_rule": POSTERIOR}}
    path.write_text(render_page(posterior), encoding="utf-8")
    browser.open_page(driver, path, "#group-0")
    wait_for(driver, ".firing")
    assert "where its posterior probability, given" in texts(driver, ".firing")[0]
    assert "(any of them on " in texts(driver, ".firing")[0]
    assert "posterior" in driver.find_element("css selector", "th[data-key=rate] button").get_attribute("title")


def test_a_part_is_shown_with_its_rate_its_places_and_its_components(driver: Any, pages: dict[str, Path]) -> None:
    content = content_of(language_samples())
    browser.open_page(driver, pages["language"], "#group-0")
    wait_for(driver, ".part-box")
    heads = texts(driver, ".part-box h4")
    assert heads[2] == "In no part: 1"
    assert [head.startswith(start) for head, start in zip(heads, ("a 3 components", "b 2 components"), strict=False)]
    for head, part in zip(heads, content["groups"][0]["parts"], strict=False):
        assert f"fires on {100 * part['firing_rate']:.1f}%" in head
        assert f"{part['token_entropy']:.1f} bits" in head
        assert f"stable group {part['part']} of stable_groups.json" in head
    assert len(texts(driver, "#part-7 .contexts > li")) == 3
    weights = [token["weight"] for token in content["groups"][0]["parts"][0]["tokens"]]
    assert len(texts(driver, "#part-7 .chip")) == sum(weight > 0.12 * weights[0] for weight in weights)
    members = texts(driver, ".part-box .mono.wrap")
    of_part = {member["label"] for member in content["groups"][0]["members"] if member["part"] == 7}
    assert set(members[0].split()) == of_part
    driver.find_elements("css selector", ".short button.pair")[1].click()
    assert driver.execute_script("return document.activeElement.id") == "part-4"
    assert driver.execute_script("return location.hash") == "#group-0"
    browser.open_page(driver, pages["language"], "#group-1")  # a stable group as it is
    wait_for(driver, "#group .contexts")
    assert texts(driver, ".part-box") == []
    for name in ("toy", "matrix", "unmeasured"):
        browser.open_page(driver, pages[name], "#group-0")
        wait_for(driver, "#group .legend")
        assert len(texts(driver, ".part-box")) == 3


def note(driver: Any) -> str:
    return texts(driver, "#filter-note")[0]


@pytest.mark.parametrize(
    ("typed", "says", "keeps"),
    [
        ("rate>abc", "\u201crate>abc\u201d is not understood and left out: a number comes after rate>", None),
        ("siez>3", "\u201csiez>3\u201d is not understood and left out: numbers are size, rate, bits", None),
        ("size>2 -siez<3", "\u201c-siez<3\u201d is not understood and left out", lambda size: size > 2),
        ("size>1.2.3", "\u201csize>1.2.3\u201d is not understood", None),
        ("constructor>3", "\u201cconstructor>3\u201d is not understood", None),
        ("\u202erate>x\u202e", "", lambda size: False),
        ("size > 2", "", lambda size: size > 2),
        ("size>=2e0 size<500%", "", lambda size: 2 <= size < 5),
        ("h.1.mlp:2", "", lambda size: size == 1),
        ("constructor", "No group matches all of it", lambda size: False),
        ("nothing<so>", "No group matches all of it", lambda size: False),
    ],
)
def test_what_is_not_understood_is_said(driver: Any, pages: dict[str, Path], typed: str, says: str, keeps: Any) -> None:
    content = content_of(language_samples())
    browser.open_page(driver, pages["language"])
    type_filter(driver, typed)
    groups = content["groups"]
    if typed == "h.1.mlp:2":
        assert len(ids(driver)) == 1
    else:
        assert ids(driver) == [group["id"] for group in groups if keeps is None or keeps(group["size"])]
    if says:
        assert says in note(driver)
    elif ids(driver):
        assert note(driver) == ""
    field = driver.find_element("id", "filter")
    assert field.get_attribute("aria-invalid") == ("true" if "left out" in note(driver) else "false")
    assert "\u202e" not in note(driver)
    box = driver.execute_script(
        "return ['filter', 'filter-note'].map((id) => document.getElementById(id).getBoundingClientRect().bottom)"
    )
    assert not says or box[1] > box[0]
    driver.execute_script(
        "const f = document.getElementById('filter'); f.value = ''; f.dispatchEvent(new Event('input'))"
    )
    assert note(driver) == ""
    assert len(ids(driver)) == len(groups)


def test_a_number_that_no_group_has_is_named(driver: Any, pages: dict[str, Path]) -> None:
    browser.open_page(driver, pages["unmeasured"])
    type_filter(driver, "bits<3")
    assert "No group has a number \u201cbits\u201d here" in note(driver)


def test_hostile_words_in_the_filter_stay_text(driver: Any, pages: dict[str, Path]) -> None:
    browser.open_page(driver, pages["language"])
    type_filter(driver, "rate><img/src=x/onerror=alert(1)>")
    assert "<img/src=x" in note(driver)
    assert driver.find_elements("css selector", "#index img") == []
    assert HOSTILE[0] not in note(driver)


def test_what_another_cut_does_not_know_says_so(driver: Any, pages: dict[str, Path]) -> None:
    browser.open_page(driver, pages["language"], "#cut-1")
    for key in ("bits", "near", "effect", "confidence", "rate"):
        cell = driver.find_element("css selector", f"#rows tr:first-child .c-{key} .lack")
        assert cell.text == "\u2013"
        assert cell.get_attribute("title") == "only for the groups found, not for other cuts"
        assert cell.get_attribute("aria-label") == cell.get_attribute("title")
    assert "known only of the groups found" in texts(driver, "#cut-now")[0]
    browser.open_page(driver, pages["language"])
    assert "c-effect" in driver.find_element("css selector", "#rows tr:nth-child(2) .c-effect").get_attribute("class")
    lacking = driver.find_element("css selector", "#rows tr:nth-child(2) .c-effect .lack")
    assert lacking.get_attribute("title").startswith("not measured")
