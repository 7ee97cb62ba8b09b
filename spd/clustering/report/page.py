"""One HTML file from the content of report.json: no server, no request of any kind.

1. What the index needs is plain JSON; groups are deflated in chunks, which the page opens when a group is looked at.
2. Script and style are the files in static/, joined; a content security policy names them by their SHA-256, so that
   nothing else runs, and allows no request.
3. Text of others (labels, tokens, names) reaches the page as JSON with `<`, `>`, `&` and all that is not ASCII escaped,
   and is only ever set as text. Without scripts there is the index as a plain table.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from spd.clustering.report.limits import MAX_PAGE_BYTES
from spd.text import printable

_SCRIPTS = (
    "base.js",
    "legend.js",
    "summary.js",
    "filter.js",
    "table.js",
    "pictures.js",
    "cuts.js",
    "places.js",
    "relations.js",
    "parts.js",
    "group.js",
    "exports.js",
    "start.js",
)
_STYLES = ("page.css", "group.css")
_GROUPS_A_CHUNK = 50
_N_TOKENS_IN_INDEX = 8
_N_TOKENS_WITHOUT_SCRIPT = 5
_STANDS_OUT = 2
"""Lift from which a next token is one that a filter finds its group by."""
_PLACE_BEFORE, _PLACE_AFTER = 6, 4
"""Tokens around a group's strongest place in the index."""


def render_page(content: dict[str, Any]) -> str:
    """The page.

    Args:
        content: of report.json, see content.build_content.
    """
    script = "\n".join(_static(name) for name in _SCRIPTS)
    style = "\n".join(_static(name) for name in _STYLES)
    chunks = [
        _block(f"chunk-{number}", _packed(_json(content["groups"][start : start + _GROUPS_A_CHUNK]).encode()))
        for number, start in enumerate(range(0, len(content["groups"]), _GROUPS_A_CHUNK))
    ]
    tokens = content["data"].get("tokens")
    if tokens:
        chunks.append(_block("corpus", _packed(np.asarray(tokens, "<u4").tobytes())))
    head = f'<script type="application/json" id="head">{_json(_head(content))}</script>'
    parts = {
        "policy": (
            f"default-src 'none'; script-src '{_sha(script)}'; style-src '{_sha(style)}'; base-uri 'none'; "
            "form-action 'none'"
        ),
        "title": html.escape(printable(f"Groups of {content['model'].get('name')}")),
        "style": style,
        "script": script,
        "data": "\n".join([head, *chunks]),
        "firing": _firing(content),
        "noscript": _plain_table(content),
    }
    return re.sub(r"@@(\w+)@@", lambda found: parts[found[1]], _static("page.html"))


def too_large(page: str) -> bool:
    """Whether a page is larger than any should be."""
    return len(page.encode()) > MAX_PAGE_BYTES


def _head(content: dict[str, Any]) -> dict[str, Any]:
    """All but what is only looked at group by group."""
    modules = list(content["model"]["modules"])
    place = {module: index for index, module in enumerate(modules)}
    kept = {key: value for key, value in content.items() if key not in ("groups",)}
    kept["data"] = {key: value for key, value in content["data"].items() if key != "tokens"}
    kept["chunk_size"] = _GROUPS_A_CHUNK
    kept["module_names"] = modules
    kept["index"] = [_row(group, place) | _place(content["data"], group) for group in content["groups"]]
    return kept


def _row(group: dict[str, Any], place: dict[str, int]) -> dict[str, Any]:
    """What the index shows and searches of one group."""
    effect = group.get("effect")
    around = group.get("around") or []
    contexts = group.get("contexts")
    strongest = {"top": contexts[0]["sample"]} if contexts and not group.get("tokens") else {}
    return strongest | {
        "id": group["id"],
        "label": group["label"],
        "verdict": group["verdict"],
        "why": group["why"],
        "confidence": group["confidence"],
        "size": group["size"],
        "modules": [[place[module], count] for module, count in group["modules"].items() if module in place],
        "rate": group["firing_rate"],
        "bits": group.get("token_entropy"),
        "tokens": [
            [token["id"], token.get("weight", token["share"])] for token in group.get("tokens", [])[:_N_TOKENS_IN_INDEX]
        ],
        "next": [token["id"] for token in group.get("next_tokens") or [] if token["lift"] >= _STANDS_OUT],
        "remarks": group["remarks"],
        "near": around[0]["group"] if around else None,
        "effect": effect["ablate"]["firing"] if effect else None,
        "effect_verdict": effect["verdict"] if effect else None,
        "members": [member["component"] for member in group["members"]],
    }


def _place(data: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    """`place`: the tokens around a group's strongest place, and which of them it is; nothing without tokens."""
    if not data.get("tokens") or not group.get("contexts"):
        return {}
    sequence, at = divmod(group["contexts"][0]["sample"], data["sequence_length"])
    start = max(0, at - _PLACE_BEFORE)
    return {"place": [data["tokens"][sequence][start : at + 1 + _PLACE_AFTER], at - start]}


def _json(content: Any) -> str:
    """JSON that can stand in a script element: no markup, nothing but ASCII; NaN has no place in it."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _packed(content: bytes) -> str:
    """Deflated (zlib), base64."""
    return base64.b64encode(zlib.compress(content, 6)).decode()


def _block(name: str, content: str) -> str:
    return f'<script type="application/octet-stream" id="{name}">{content}</script>'


def _sha(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _static(name: str) -> str:
    return (files("spd.clustering.report") / "static" / name).read_text(encoding="utf-8")


def _firing(content: dict[str, Any]) -> str:
    """When groups fire, for readers without scripts; nothing where nothing was measured."""
    if content["data"].get("kind") is None:
        return ""
    return html.escape(f"Fires: {printable(str(content['settings'].get('firing_rule', '')))}.")


def _plain_table(content: dict[str, Any]) -> str:
    """The index for a browser without scripts."""
    cells = ["group", "label", "verdict", "size", "fires on", "modules", "mostly on", "strongest place"]
    rows = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in cells)}</tr>"]
    for group in content["groups"]:
        rate = "" if group["firing_rate"] is None else f"{group['firing_rate']:.2%}"
        modules = ", ".join(f"{module} {count}" for module, count in group["modules"].items())
        tokens = _names(content, [token["id"] for token in group.get("tokens", [])[:_N_TOKENS_WITHOUT_SCRIPT]])
        values = [
            group["id"],
            group["label"] or "",
            group["verdict"],
            group["size"],
            rate,
            modules,
            tokens,
            _place_text(content, group),
        ]
        rows.append(f"<tr>{''.join(f'<td>{html.escape(printable(str(value)))}</td>' for value in values)}</tr>")
    return "\n".join(rows)


def _place_text(content: dict[str, Any], group: dict[str, Any]) -> str:
    found = _place(content["data"], group)
    if not found:
        return ""
    ids, at = found["place"]
    texts = [content["token_texts"].get(str(token), f"#{token}") for token in ids]
    return f"{''.join(texts[:at])}[{texts[at]}]{''.join(texts[at + 1 :])}"


def _names(content: dict[str, Any], ids: Sequence[int]) -> str:
    texts = {token: text.replace(" ", "\u00b7") for token, text in content["token_texts"].items()}
    other = "#" if content["data"]["kind"] == "language" else "feature "
    return "  ".join(texts.get(str(token), f"{other}{token}") for token in ids)
