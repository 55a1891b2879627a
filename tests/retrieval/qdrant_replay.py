"""Replays recorded exchanges with a Qdrant server, as a process: python -m tests.retrieval.qdrant_replay SCENARIO

Each request must be that of an exchange that was not had yet; it gets that exchange's answer, any other one a refusal
that says so. `GET /left` tells how many exchanges were not had, and `GET /keys` the values of the header `api-key`. The
port stands on the first line of the output. Besides, `POST /v1/embeddings` counts "lead", "copper" and "thiamine" in
each text, so that a study can be carried out.
"""

from __future__ import annotations

import json
import math
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

EXCHANGES = Path(__file__).parent / "qdrant_exchanges.json"
_COUNTED = ("lead", "copper", "thiamine")
_NAME = "[A-Za-z0-9_-]+"


def same(ours: Any, recorded: Any) -> bool:
    """Whether two JSON values are the same, floats to six decimals."""
    if isinstance(ours, dict) and isinstance(recorded, dict):
        return ours.keys() == recorded.keys() and all(same(ours[key], recorded[key]) for key in ours)
    if isinstance(ours, list) and isinstance(recorded, list):
        return len(ours) == len(recorded) and all(map(same, ours, recorded))
    if isinstance(ours, float) or isinstance(recorded, float):
        return math.isclose(ours, recorded, abs_tol=1e-6)
    return bool(ours == recorded)


class Replaying(BaseHTTPRequestHandler):
    """Answers out of `left`, under `lock`."""

    protocol_version = "HTTP/1.1"
    # Head and body as one piece: else each answer waits for the other side's delayed acknowledgement.
    wbufsize = -1
    left: list[dict[str, Any]]
    keys: set[str | None]
    lock = Lock()

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body: Any = json.loads(content) if content else None
        if self.path == "/left":
            self._send(200, len(self.left))
        elif self.path == "/keys":
            self._send(200, sorted(map(str, self.keys)))
        elif self.path == "/v1/embeddings":
            rows = [[float(text.lower().split().count(word)) for word in _COUNTED] for text in body["input"]]
            self._send(200, {"data": [{"index": place, "embedding": row} for place, row in enumerate(rows)]})
        else:
            self._replay(method, body)

    def _replay(self, method: str, body: Any) -> None:
        with self.lock:
            self.keys.add(self.headers.get("api-key"))
            for exchange in self.left:
                request = exchange["request"]
                path = re.escape(request["path"]).replace(re.escape("{name}"), _NAME)
                if request["method"] == method and re.fullmatch(path, self.path) and same(body, request.get("body")):
                    self.left.remove(exchange)
                    self._send(exchange["answer"]["status"], exchange["answer"]["body"])
                    return
        self._send(400, {"status": {"error": f"Not recorded: {method} {self.path} {json.dumps(body)}"}, "time": 0.0})

    def _send(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def main(scenario: str) -> None:
    Replaying.left = json.loads(EXCHANGES.read_text(encoding="utf-8"))["scenarios"][scenario]
    Replaying.keys = set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Replaying) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
