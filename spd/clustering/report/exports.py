"""The groups for other programs: a table, a mapping for the SPD app, links to Neuronpedia."""

import csv
import io
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spd.clustering.consensus.mapping_form import MappingFormat, in_format
from spd.errors import ConfigError
from spd.files.checked import read_json
from spd.files.csv_table import quoting_of

_COLUMNS = (
    "id", "hash", "label", "verdict", "confidence", "size", "firing_rate", "token_entropy", "modules", "mostly_on",
    "nearest", "effect", "effect_verdict", "components",
)  # fmt: skip


@dataclass(frozen=True)
class NeuronpediaNames:
    """How Neuronpedia calls a model and its layers.

    Attributes:
        model_id: `gpt2-small`, say.
        layers: {module: layer}, such as `{"blocks.6.hook_resid_pre": "6-res-jb"}`; others have no link.
    """

    model_id: str
    layers: Mapping[str, str]


def read_neuronpedia_names(path: Path) -> NeuronpediaNames:
    """From JSON: {"model_id": text, "layers": {module: layer}}.

    Raises:
        SPDError: it is missing or damaged.
    """
    content = read_json(path, required=["model_id", "layers"])
    model_id, layers = content["model_id"], content["layers"]
    is_names = isinstance(layers, dict) and all(isinstance(layer, str) for layer in layers.values())
    if not isinstance(model_id, str) or not is_names:
        raise ConfigError(f"{path}: expected a text model_id, and layers that map modules to texts")
    return NeuronpediaNames(model_id, layers)


def groups_csv(content: Mapping[str, Any]) -> str:
    """One row a group. A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    rows = []
    for group in content["groups"]:
        effect, around = group.get("effect"), group.get("around")
        row = {
            **group,
            "modules": " ".join(f"{module}={count}" for module, count in group["modules"].items()),
            "mostly_on": " ".join(_input_name(content, token["id"]) for token in group.get("tokens", [])[:5]),
            "nearest": around[0]["group"] if around else None,
            "effect": effect["ablate"]["firing"] if effect else None,
            "effect_verdict": effect["verdict"] if effect else None,
            "components": " ".join(member["label"] for member in group["members"]),
        }
        rows.append([_cell(row.get(column)) for column in _COLUMNS])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=quoting_of(str(cell) for row in rows for cell in row))
    writer.writerows([_COLUMNS, *rows])
    return out.getvalue()


def mapping(content: Mapping[str, Any], format: MappingFormat = "spd") -> dict[str, Any]:
    """The groups in the form of get_cluster_mapping; a component alone has null.

    Args:
        format: under which key the model is named: `spd`: spd_run, `pd`: pd_run.
    """
    settings = content["settings"]
    named = [(group["id"], group["label"]) for group in content["groups"] if group["label"]]
    clusters = {
        member["label"]: group["id"] if group["size"] > 1 else None
        for group in content["groups"]
        for member in group["members"]
    }
    model = {"spd_run": content["model"].get("run")}
    notes = settings["groups"] + "".join(f"; {group}: {label}" for group, label in named)
    ordered = {label: clusters[label] for label in content["components"]["labels"]}
    if "ensemble" in settings:
        head = {"ensemble_id": settings["ensemble"], "notes": notes, **model, "n_iterations": None, "run_idx": None}
    else:
        n_merges = settings.get("n_merges")
        iteration = n_merges - 1 if n_merges else None
        head = {"clustering_run_id": settings.get("run"), "notes": notes, **model, "iteration": iteration}
    return in_format(head | {"clusters": ordered}, format)


def neuronpedia_link(name: str, labels: list[str], names: NeuronpediaNames) -> str | None:
    """A quick list of these components: https://neuronpedia.org/quick-list/?name=...&features=[{modelId, layer, index}]

    None where none of them has a layer there.
    """
    features = []
    for label in labels:
        module, _, index = label.rpartition(":")
        if module in names.layers:
            features.append({"modelId": names.model_id, "layer": names.layers[module], "index": index})
    if not features:
        return None
    query = urllib.parse.urlencode({"name": name, "features": json.dumps(features)}, quote_via=urllib.parse.quote)
    return f"https://neuronpedia.org/quick-list/?{query}"


def _input_name(content: Mapping[str, Any], identifier: int) -> str:
    kind = {"toy": "feature", "matrix": "sample"}.get(content["data"]["kind"], "token")
    return content["token_texts"].get(str(identifier), f"{kind} {identifier}").strip() or repr(" ")


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
