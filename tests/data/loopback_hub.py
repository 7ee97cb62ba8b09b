"""A Hugging Face hub on this machine with one dataset, that writes down which files are fetched from it."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LoopbackHub:
    """Serves `files` (name to content) as the dataset `repo`; used as a context."""

    def __init__(self, repo: str, files: dict[str, bytes]) -> None:
        self.repo = repo
        self.files = files
        self.fetched: list[str] = []
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "/paths-info/" not in self.path:
            self._send_json({"error": "not found"}, status=404)
            return
        wanted = parse_qs(content.decode())["paths"]
        self._send_json([self._entry(name) for name in wanted if name in self.hub.files])

    def _answer(self, with_body: bool) -> None:
        path = self.path.split("?")[0]
        start = f"/datasets/{self.hub.repo}/resolve/"
        if path.startswith(start):
            self._send_file(path.removeprefix(start).split("/", 1)[1], with_body)
        elif path.startswith(f"/api/datasets/{self.hub.repo}/tree/"):
            self._send_json([self._entry(name) for name in self.hub.files])
        elif path.startswith(f"/api/datasets/{self.hub.repo}"):
            siblings = [{"rfilename": name} for name in self.hub.files]
            self._send_json({"id": self.hub.repo, "sha": _COMMIT, "siblings": siblings, "tags": [], "private": False})
        else:
            self._send_json({"error": "not found"}, status=404, code="RepoNotFound")

    def _entry(self, name: str) -> dict:
        content = self.hub.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _send_file(self, name: str, with_body: bool) -> None:
        if name not in self.hub.files:
            self._send_json({"error": "not found"}, status=404, code="EntryNotFound")
            return
        content = self.hub.files[name]
        first, status = 0, 200
        if with_body:
            self.hub.fetched.append(name)
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes=") and not asked.startswith("bytes=0-"):
                first, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
        body = content[first:]
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", _COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _send_json(self, content: object, status: int = 200, code: str | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", _COMMIT)
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        return
