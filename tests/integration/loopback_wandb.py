"""A Weights & Biases server on loopback, enough of one for the real client (standard library only).

    with serve(tmp_path / "wandb") as server:
        server.add_run("me/project/abc123", {"final_config.yaml": b"..."}, config={...}, summary={...})
        with server.environment(): ...            # WANDB_BASE_URL and a key; or monkeypatch.setenv from server.variables

1. A run is the folder `root/<entity>/<project>/<run id>/`; what a client uploads lands there, what lies there can be
   downloaded. What it logs line by line is kept in `server.runs[key].history` and `.summary`.
2. Artifacts land under `root/artifacts/<id>/`, one record each in `server.artifacts`; views in `server.views`.
3. A GraphQL operation is answered by the function registered for its name; an unknown one gets a GraphQL error that
   names it, so that a newer client's new question is seen in the test's output.
4. `server.faults` makes it misbehave: answer 500, or end a download half way.
"""

import contextlib
import gzip
import http.server
import json
import os
import re
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Variables = dict[str, Any]
Answer = Callable[["LoopbackServer", Variables], dict[str, Any]]
_ANSWERS: dict[str, Answer] = {}


@dataclass
class Faults:
    """How the server misbehaves; change it while the server runs.

    failing: GraphQL operations that get status 500, or "file_stream", "download", "upload", or "*" for all requests.
    truncated: names of files whose download announces their full size and ends after half of it.
    refused_tokens: True answers 401 to everything, as for a wrong API key.
    """

    failing: set[str] = field(default_factory=set)
    truncated: set[str] = field(default_factory=set)
    refused_tokens: bool = False

    def fails(self, what: str) -> bool:
        return what in self.failing or "*" in self.failing


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


class LoopbackServer(http.server.ThreadingHTTPServer):
    """See the module's docstring; made by `serve`."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root.resolve()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs: dict[str, Run] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, Any]] = []
        self.faults = Faults()

    @property
    def variables(self) -> dict[str, str]:
        """The environment that sends the real client here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online", "WANDB_SILENT": "true"}

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def add_run(
        self,
        key: str,
        files: dict[str, bytes] | None = None,
        config: dict[str, Any] | None = None,
        summary: dict[str, Any] | None = None,
    ) -> Path:
        """Seed the run `entity/project/run_id`; returns its folder."""
        folder = self.root / key
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (files or {}).items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        self.runs[key] = Run(config=config or {}, summary=summary or {})
        return folder

    def path_of(self, url: str) -> Path | None:
        """The file that a storage address names; None when it would lie outside the root."""
        path = (self.root / urllib.parse.unquote(url.removeprefix("/storage/"))).resolve()
        return path if path.is_relative_to(self.root) else None

    def url_of(self, path: Path) -> str:
        return f"{self.url}/storage/" + urllib.parse.quote(str(path.relative_to(self.root)))

    def handle_error(self, request: Any, client_address: Any) -> None:
        # The client's own process drops its connections when the program ends.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serve(root: Path) -> Iterator[LoopbackServer]:
    """A running server that keeps everything under `root`; ended with the block."""
    root.mkdir(parents=True, exist_ok=True)
    server = LoopbackServer(root)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LoopbackServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requests.append(("GET", self.path))
        path = self.server.path_of(self.path)
        if self._misbehaves("download"):
            return
        if path is None or not path.is_file():
            self._reply(b"", 404)
            return
        content = path.read_bytes()
        if path.name in self.server.faults.truncated:
            self._reply(content[: len(content) // 2], announced=len(content))
            self.close_connection = True
        else:
            self._reply(content)

    def do_PUT(self) -> None:
        self.server.requests.append(("PUT", self.path))
        content = self._body()
        path = self.server.path_of(self.path)
        if self._misbehaves("upload"):
            return
        if path is None:
            self._reply(b"", 403)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._reply(b"{}")

    def do_POST(self) -> None:
        content = self._body()
        stream = re.fullmatch(r"/files/([^/]+/[^/]+/[^/]+)/file_stream", self.path)
        if stream is not None:
            self.server.requests.append(("file_stream", stream[1]))
            if not self._misbehaves("file_stream"):
                _keep_stream(self.server.runs.setdefault(stream[1], Run()), json.loads(content))
                self._reply(b"{}")
        elif self.path == "/graphql":
            self._answer(json.loads(content))
        else:  # the client's telemetry
            self._reply(b"{}")

    def _answer(self, question: dict[str, Any]) -> None:
        found = re.search(r"(?:query|mutation)\s+(\w+)", question["query"])
        operation = found[1] if found else "unnamed"
        variables = question.get("variables") or {}
        self.server.requests.append((operation, variables))
        if self._misbehaves(operation):
            return
        answer = _ANSWERS.get(operation)
        if answer is None:
            reply: dict[str, Any] = {"errors": [{"message": f"loopback server: no answer for {operation}"}]}
        else:
            reply = {"data": answer(self.server, variables)}
        self._reply(json.dumps(reply).encode())

    def _misbehaves(self, what: str) -> bool:
        if self.server.faults.refused_tokens:
            self._reply(b'{"errors": [{"message": "permission denied"}]}', 401)
            return True
        if self.server.faults.fails(what):
            self._reply(b'{"errors": [{"message": "out of order, by order of the test"}]}', 500)
            return True
        return False

    def _body(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def _reply(self, content: bytes, status: int = 200, announced: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if announced is None else announced))
        self.end_headers()
        self.wfile.write(content)


def _keep_stream(run: Run, message: dict[str, Any]) -> None:
    """File one message of the client's stream: lines of history, the latest summary, the exit code."""
    files = message.get("files") or {}
    run.history += [json.loads(line) for line in files.get("wandb-history.jsonl", {}).get("content", [])]
    for line in files.get("wandb-summary.json", {}).get("content", []):
        run.summary = json.loads(line)
    if message.get("complete"):
        run.exit_code = message.get("exitcode")


def _answers(*operations: str) -> Callable[[Answer], Answer]:
    def register(function: Answer) -> Answer:
        _ANSWERS.update(dict.fromkeys(operations, function))
        return function

    return register


# Who asks.


@_answers("Viewer", "GetViewer", "GetDefaultEntity")
def _viewer(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    teams: dict[str, Any] = {"edges": []}
    viewer = {"id": "u1", "entity": "me", "username": "me", "email": "me@example.com", "flags": "{}", "teams": teams}
    return {"viewer": viewer}


@_answers("ServerFeaturesQuery")
def _features(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    return {"serverInfo": {"features": []}}


@_answers("OrganizationCoreWeaveOrganizationID")
def _organization(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}


# A run that is written.


@_answers("UpsertBucket")
def _upsert_run(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
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
def _resume_status(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
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
def _create_files(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    folder = server.root / variables["entity"] / variables["project"] / variables["run"]
    files = [{"name": name, "uploadUrl": server.url_of(folder / name)} for name in variables["files"]]
    return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


# A run that is read.


@_answers("Run")
def _read_run(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
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
def _run_files(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
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
def _create_artifact(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    given = variables["input"]
    artifact_id = given["artifactCollectionName"]
    server.artifacts[artifact_id] = dict(given) | {"committed": False}
    sequence = {"id": "s1", "latestArtifact": None}
    return {"createArtifact": {"artifact": {"id": artifact_id, "state": "PENDING", "artifactSequence": sequence}}}


@_answers("CreateArtifactManifest")
def _create_manifest(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    return {"createArtifactManifest": _manifest(server, variables["artifactID"], variables["name"])}


@_answers("UpdateArtifactManifest")
def _update_manifest(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    return {"updateArtifactManifest": _manifest(server, variables["artifactManifestID"], "wandb_manifest.json")}


def _manifest(server: LoopbackServer, artifact_id: str, name: str) -> dict[str, Any]:
    url = server.url_of(server.root / "artifacts" / artifact_id / name)
    return {"artifactManifest": {"id": artifact_id, "file": {"id": "f1", "uploadUrl": url, "uploadHeaders": []}}}


@_answers("CreateArtifactFiles")
def _create_artifact_files(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    edges = []
    for given in variables["input"]["artifactFiles"]:
        url = server.url_of(server.root / "artifacts" / given["artifactID"] / given["name"])
        node = {"storagePath": given["name"], "uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}
        edges.append({"node": node | {"artifact": {"id": given["artifactID"]}}})
    return {"createArtifactFiles": {"files": {"edges": edges}}}


@_answers("CommitArtifact")
def _commit_artifact(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    server.artifacts[variables["artifactID"]]["committed"] = True
    return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "x"}}}


# Workspace views.


@_answers("UpsertView2")
def _upsert_view(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    view = variables | {"id": variables.get("id") or variables["name"]}
    server.views[variables["name"]] = view
    return {"upsertView": {"inserted": True, "view": {"id": view["id"], "name": view["name"]}}}


@_answers("View")
def _read_view(server: LoopbackServer, variables: Variables) -> dict[str, Any]:
    view = server.views.get(variables["viewName"])
    return {"project": {"allViews": {"edges": [{"node": view}] if view else []}}}
