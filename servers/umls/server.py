"""UMLS concepts of texts over HTTP, by scispaCy's entity linker. Standard library only, besides scispaCy itself.

    POST /concepts {"texts": ["He has a fever.", …]}  ->  [[{"cui": "C0015967", "name": "Fever", "score": 0.99}], …]
    GET  /info     ->  {"model": "en_core_sci_sm 0.5.4", "linker": "umls", "scispacy": "0.5.5"}
    GET  /health   ->  {"status": "ok"}

One list a text, in order; in it one concept for each mention that has a candidate, the best one under its canonical
name, in the order of the text. `score` is the linker's, from 0 to 1. A bad request is answered 400 {"error": why}.
The server listens once the linker is loaded: who gets an answer can ask.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Concepts = Callable[[Sequence[str]], "list[list[dict[str, Any]]]"]

MOST_BYTES = 32 << 20
MOST_TEXTS = 1024


class Refused(Exception):
    """A request that cannot be answered: its HTTP status and why."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def texts_of(body: bytes) -> list[str]:
    """The texts of a request's body; raises `Refused`."""
    try:
        texts = json.loads(body)["texts"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise Refused(400, 'the body must be JSON: {"texts": ["…", …]}') from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "`texts` must be a list of strings")
    if len(texts) > MOST_TEXTS:
        raise Refused(413, f"no more than {MOST_TEXTS} texts at once")
    return texts


def server(address: tuple[str, int], concepts: Concepts, info: dict[str, str]) -> ThreadingHTTPServer:
    """A server on `address` that answers with `concepts`; one request is worked on at a time, the others wait."""
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A client that says more than it sends must not hold a thread for ever.
        timeout = 60

        def do_GET(self) -> None:
            answers = {"/health": {"status": "ok"}, "/info": info}
            if self.path in answers:
                self._answer(200, answers[self.path])
            else:
                self._answer(404, {"error": f"there is no {self.path!r}"})

        def do_POST(self) -> None:
            try:
                texts = texts_of(self._body())
            except Refused as refused:
                # What was not read of the body would be taken for the next request.
                self.close_connection = True
                self._answer(refused.status, {"error": str(refused)})
                return
            try:
                with one_at_a_time:
                    found = concepts(texts)
            except Exception as error:
                # Its words may hold the text; its kind does not.
                self._answer(500, {"error": f"the linker failed: {type(error).__name__}"})
                return
            self._answer(200, found)

        def _body(self) -> bytes:
            if self.path != "/concepts":
                raise Refused(404, f"there is no {self.path!r}")
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal():
                raise Refused(411, "the body's length must be given")
            if int(length) > MOST_BYTES:
                raise Refused(413, f"no more than {MOST_BYTES} bytes at once")
            return self.rfile.read(int(length))

        def _answer(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Requests hold patients' text; nothing of them is logged."""

    return ThreadingHTTPServer(address, Handler)


def linked(nlp: Any, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """What scispaCy finds in `texts`; the last pipe of `nlp` is the linker."""
    entities = nlp.get_pipe("scispacy_linker").kb.cui_to_entity
    return [
        [
            {"cui": cui, "name": entities[cui].canonical_name, "score": float(score)}
            for entity in document.ents
            for cui, score in entity._.kb_ents[:1]
        ]
        for document in nlp.pipe(texts)
    ]


def load(model: str) -> tuple[Any, dict[str, str]]:
    """scispaCy's model with the UMLS linker, which is downloaded at the first time, and what /info says of it."""
    import scispacy
    import spacy
    from scispacy.linking import EntityLinker  # noqa: F401  (makes the pipe known)

    nlp = spacy.load(model)
    nlp.add_pipe("scispacy_linker", config={"linker_name": "umls", "max_entities_per_mention": 1})
    version = f"{nlp.meta['lang']}_{nlp.meta['name']} {nlp.meta['version']}"
    return nlp, {"model": version, "linker": "umls", "scispacy": scispacy.__version__}


def main() -> None:
    """Load, then serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", default=os.environ.get("SCISPACY_MODEL", "en_core_sci_sm"))
    options = parser.parse_args()
    nlp, info = load(options.model)
    serving = server((options.host, options.port), lambda texts: linked(nlp, texts), info)
    # shutdown() waits for the loop, which runs in the thread that the signal interrupts.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=serving.shutdown).start())
    print(f"serving {info['model']} on {options.host} port {serving.server_address[1]}", flush=True)
    serving.serve_forever()


if __name__ == "__main__":
    main()
