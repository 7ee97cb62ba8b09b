"""A Weights & Biases server on loopback, enough of one for the real client (standard library only).

    with serve(tmp_path / "wandb") as server:
        server.add_run("me/project/abc123", {"final_config.yaml": b"..."}, config={...}, summary={...})
        with server.environment(): ...     # WANDB_BASE_URL and a key; or monkeypatch.setenv from server.variables

1. A run is the folder `root/<entity>/<project>/<run id>/`; what a client uploads lands there, what lies there can be
   downloaded. What it logs line by line is kept in `server.runs[key].history` and `.summary`.
2. Artifacts land under `root/artifacts/<id>/`, one record each in `server.artifacts`; views in `server.views`.
3. A GraphQL operation is answered by the function of loopback_wandb_answers.py registered for its name; an unknown one
   gets a GraphQL error that names it, so that a newer client's new question is seen in the test's output.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.loopback_wandb_answers import ANSWERS, Run


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
        answer = ANSWERS.get(operation)
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
