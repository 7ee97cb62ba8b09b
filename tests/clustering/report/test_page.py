"""The page's own text: nothing of others is markup, the policy names what runs, and the data come back whole."""

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.limits import Limits
from spd.clustering.report.make import smaller
from spd.clustering.report.page import render_page
from tests.clustering.report.fixtures import HOSTILE, grouping_of, small_content, toy_samples


class _Elements(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inside.append((self.tags[-1][1] | {"tag": self.tags[-1][0]}, data))


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return small_content()


@pytest.fixture(scope="module")
def page(content: dict[str, Any]) -> str:
    return render_page(content)


def test_text_of_others_opens_no_element(page: str) -> None:
    elements = _Elements(page)
    scripts = [attributes for tag, attributes in elements.tags if tag == "script"]
    assert sum("type" not in attributes for attributes in scripts) == 1
    assert {attributes.get("type") for attributes in scripts} == {None, "application/json", "application/octet-stream"}
    assert not any(tag in ("img", "iframe", "object", "embed", "form", "base") for tag, _ in elements.tags)
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    assert "<script>alert" not in page
    assert "\u2028" not in page
    assert "\u202e" not in page


def test_the_policy_allows_only_this_script_and_style(page: str) -> None:
    elements = _Elements(page)
    policy = next(a["content"] for tag, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    for kind in ("script", "style"):
        text = next(
            data for attributes, data in elements.inside if attributes["tag"] == kind and "type" not in attributes
        )
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_data_come_back(page: str, content: dict[str, Any]) -> None:
    blocks = dict(re.findall(r'<script type="application/[a-z-]+" id="([\w-]+)">([^<]*)</script>', page))
    head = json.loads(blocks["head"])
    assert head["token_texts"] == content["token_texts"]
    assert [row["label"] for row in head["index"]] == [group["label"] for group in content["groups"]]
    groups = json.loads(zlib.decompress(base64.b64decode(blocks["chunk-0"])))
    assert groups == json.loads(json.dumps(content["groups"]))
    corpus = np.frombuffer(zlib.decompress(base64.b64decode(blocks["corpus"])), "<u4")
    np.testing.assert_array_equal(corpus, np.array(content["data"]["tokens"]).reshape(-1))


def test_the_page_asks_for_nothing(page: str) -> None:
    source = page[page.rindex("<script>") :]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttpRequest", source
    )
    assert not re.search(r"@import|url\(", page[page.index("<style>") : page.index("</style>")])


def test_the_plain_table_holds_every_group(page: str, content: dict[str, Any]) -> None:
    table = page[page.index("<noscript>") : page.index("</noscript>")]
    assert table.count("<tr>") == len(content["groups"]) + 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in table
    assert "\\u202eright to left" in table
    assert HOSTILE[0] not in table


def test_a_toy_report_renders() -> None:
    content = build_content(grouping_of([i // 2 for i in range(12)]), toy_samples(), Subject({"name": "toy"}, {}))
    assert "feature 0" in render_page(content)


def test_a_smaller_report_says_what_it_lacks(content: dict[str, Any]) -> None:
    less = smaller(content, Limits(2, 0, 0))
    assert [len(group["contexts"]) for group in less["groups"]] == [2] * len(less["groups"])
    assert all(not member["strongest"] for group in less["groups"] for member in group["members"])
    assert "2 strongest places" in less["left_out"][0]
    assert len(content["groups"][0]["contexts"]) > 2, "the content itself is left as it was"
