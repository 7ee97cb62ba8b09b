"""What the loopback W&B server answers: one function for each GraphQL operation of the real client."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.loopback_wandb import LoopbackServer

Variables = dict[str, Any]
Answer = Callable[["LoopbackServer", Variables], dict[str, Any]]
ANSWERS: dict[str, Answer] = {}


@dataclass
class Run:
    """What is known of one run beside its files."""

    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    group: str | None = None
    job_type: str | None = None
    display_name: str | None = None
    exit_code: int | None = None


def _answers(*operations: str) -> Callable[[Answer], Answer]:
    def register(function: Answer) -> Answer:
        ANSWERS.update(dict.fromkeys(operations, function))
        return function

    return register


# Who asks.


@_answers("Viewer", "GetViewer", "GetDefaultEntity")
def _viewer(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    teams: dict[str, Any] = {"edges": []}
    viewer = {"id": "u1", "entity": "me", "username": "me", "email": "me@example.com", "flags": "{}", "teams": teams}
    return {"viewer": viewer}


@_answers("ServerFeaturesQuery")
def _features(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    return {"serverInfo": {"features": []}}


@_answers("OrganizationCoreWeaveOrganizationID")
def _organization(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}


# A run that is written.


@_answers("UpsertBucket")
def _upsert_run(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    entity, project, name = variables.get("entity") or "me", variables["project"], variables["name"]
    known = f"{entity}/{project}/{name}" in server.runs
    run = server.runs.setdefault(f"{entity}/{project}/{name}", Run())
    if variables.get("config"):
        run.config = {key: entry["value"] for key, entry in json.loads(variables["config"]).items()}
    run.tags = variables.get("tags") or run.tags
    run.group = variables.get("groupName") or run.group
    run.job_type = variables.get("jobType") or run.job_type
    run.display_name = variables.get("displayName") or run.display_name
    bucket = {
        "id": name,
        "name": name,
        "displayName": run.display_name or name,
        "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
        "sweepName": None,
        "historyLineCount": len(run.history),
        "project": {"id": "p1", "name": project, "entity": {"id": "e1", "name": entity}},
    }
    return {"upsertBucket": {"inserted": not known, "bucket": bucket}}


@_answers("RunResumeStatus")
def _resume_status(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    entity, project = variables.get("entity") or "me", variables.get("project")
    run = server.runs.get(f"{entity}/{project}/{variables['name']}")
    if run is None:
        return {"model": {"id": "p1", "name": project, "entity": {"id": "e1", "name": entity}, "bucket": None}}
    last = run.history[-1] if run.history else {}
    bucket = {
        "id": variables["name"],
        "name": variables["name"],
        "summaryMetrics": json.dumps(run.summary),
        "displayName": run.display_name or variables["name"],
        "logLineCount": 0,
        "historyLineCount": len(run.history),
        "eventsLineCount": 0,
        "historyTail": json.dumps([json.dumps(last)]),
        "eventsTail": json.dumps([json.dumps({})]),
        "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
        "tags": run.tags,
        "wandbConfig": '{"t": 1}',
    }
    return {"model": {"id": "p1", "name": project, "entity": {"id": "e1", "name": entity}, "bucket": bucket}}


@_answers("CreateRunFiles")
def _create_files(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    folder = server.root / variables["entity"] / variables["project"] / variables["run"]
    files = [{"name": name, "uploadUrl": server.url_of(folder / name)} for name in variables["files"]]
    return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


# A run that is read.


@_answers("Run")
def _read_run(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    name = variables["name"]
    key = f"{variables['entity']}/{variables['project']}/{name}"
    run = server.runs.get(key)
    if run is None and (server.root / key).is_dir():
        run = Run()
    if run is None:
        return {"project": {"run": None}}
    fields = {
        "id": name,
        "projectId": "1",
        "name": name,
        "displayName": run.display_name or name,
        "state": "finished",
        "tags": run.tags,
        "config": json.dumps({name: {"value": value} for name, value in run.config.items()}),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": "{}",
        "historyKeys": None,
        "historyLineCount": len(run.history),
        "sweepName": None,
        "group": run.group,
        "jobType": run.job_type,
        "commit": None,
        "readOnly": False,
        "createdAt": "2026-01-01T00:00:00Z",
        "heartbeatAt": "2026-01-01T00:00:00Z",
        "description": "",
        "notes": "",
        "user": {"name": "me", "username": "me"},
    }
    return {"project": {"internalId": "1", "run": fields}}


@_answers("RunFiles")
def _run_files(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    folder = server.root / variables["entity"] / variables["project"] / variables["name"]
    present = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    wanted = variables.get("fileNames") or ([] if variables.get("upload") else list(present))
    nodes = []
    for name in wanted:
        if name not in present and not variables.get("upload"):
            continue
        url = server.url_of(folder / name)
        size = present[name].stat().st_size if name in present else 0
        node = {"id": name, "name": name, "url": url, "directUrl": url, "sizeBytes": str(size)}
        nodes.append(node | {"mimetype": "", "updatedAt": None, "md5": ""})
    edges = [{"node": node, "cursor": node["name"]} for node in nodes]
    files = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
    return {"project": {"internalId": "1", "run": {"fileCount": len(nodes), "files": files}}}


# Artifacts, as far as they are written.


@_answers("CreateArtifact")
def _create_artifact(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    given = variables["input"]
    artifact_id = given["artifactCollectionName"]
    server.artifacts[artifact_id] = dict(given) | {"committed": False}
    sequence = {"id": "s1", "latestArtifact": None}
    return {"createArtifact": {"artifact": {"id": artifact_id, "state": "PENDING", "artifactSequence": sequence}}}


@_answers("CreateArtifactManifest")
def _create_manifest(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    return {"createArtifactManifest": _manifest(server, variables["artifactID"], variables["name"])}


@_answers("UpdateArtifactManifest")
def _update_manifest(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    return {"updateArtifactManifest": _manifest(server, variables["artifactManifestID"], "wandb_manifest.json")}


def _manifest(server: "LoopbackServer", artifact_id: str, name: str) -> dict[str, Any]:
    url = server.url_of(server.root / "artifacts" / artifact_id / name)
    return {"artifactManifest": {"id": artifact_id, "file": {"id": "f1", "uploadUrl": url, "uploadHeaders": []}}}


@_answers("CreateArtifactFiles")
def _create_artifact_files(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    edges = []
    for given in variables["input"]["artifactFiles"]:
        url = server.url_of(server.root / "artifacts" / given["artifactID"] / given["name"])
        node = {"storagePath": given["name"], "uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}
        edges.append({"node": node | {"artifact": {"id": given["artifactID"]}}})
    return {"createArtifactFiles": {"files": {"edges": edges}}}


@_answers("CommitArtifact")
def _commit_artifact(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    server.artifacts[variables["artifactID"]]["committed"] = True
    return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "x"}}}


@_answers("ArtifactByID")
def _read_artifact(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    given = server.artifacts.get(variables["id"])
    if given is None:
        return {"artifact": None}
    project = {"id": "p1", "internalId": "1", "name": given["projectName"], "entity": {"name": given["entityName"]}}
    collection = {"__typename": "ArtifactSequence", "name": variables["id"], "project": project}
    artifact = {
        "__typename": "Artifact",
        "id": variables["id"],
        "artifactSequence": collection,
        "versionIndex": 0,
        "artifactType": {"name": given["artifactTypeName"]},
        "description": None,
        "metadata": given.get("metadata"),
        "ttlDurationSeconds": -2,
        "ttlIsInherited": True,
        "tags": [],
        "historyStep": None,
        "state": "COMMITTED" if given["committed"] else "PENDING",
        "size": 0,
        "digest": "x",
        "commitHash": None,
        "fileCount": 1,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": None,
        "aliases": [],
    }
    return {"artifact": artifact}


# Workspace views.


@_answers("UpsertView2")
def _upsert_view(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    view = variables | {"id": variables.get("id") or variables["name"]}
    server.views[variables["name"]] = view
    return {"upsertView": {"inserted": True, "view": {"id": view["id"], "name": view["name"]}}}


@_answers("View")
def _read_view(server: "LoopbackServer", variables: Variables) -> dict[str, Any]:
    view = server.views.get(variables["viewName"])
    return {"project": {"allViews": {"edges": [{"node": view}] if view else []}}}
