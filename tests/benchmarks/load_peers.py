"""Other clients that take the load benchmark's measurements: raw aiohttp, a bare protocol, guidellm, aiperf."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httptools
import numpy as np
import uvloop

TOKENS = 64
# What installs in that time and answers in that time is a peer; the first of them has a gigabyte to fetch.
INSTALL_S, ANSWER_S = 1200, 240


def by_aiohttp(port: int, body: bytes, users: int, rounds: int) -> dict[str, float]:
    """A careful client on aiohttp that stamps each chunk as it is handed out, in ms."""
    ttfts: list[float] = []
    gaps: list[float] = []

    async def user(session: aiohttp.ClientSession) -> None:
        for _ in range(rounds):
            begun = time.perf_counter_ns()
            stamps = []
            async with session.post(_url(port), data=body) as answer:
                async for piece in answer.content.iter_any():
                    now = time.perf_counter_ns()
                    for line in piece.split(b"\n\n"):
                        if b'"content"' in line and json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"]:
                            stamps.append(now)
            ttfts.append((stamps[0] - begun) / 1e6)
            gaps.extend(float(one) / 1e6 for one in np.diff(stamps))

    async def all_users() -> float:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            begun_s = time.process_time()
            await asyncio.gather(*(user(session) for _ in range(users)))
            return time.process_time() - begun_s

    cpu_s = asyncio.run(all_users())
    return {
        "ttft_p99_ms": float(np.percentile(ttfts, 99)),
        "itl_p99_ms": float(np.percentile(gaps, 99)),
        "cpu_s_per_1000_tokens": cpu_s / (users * rounds * TOKENS) * 1000,
    }


def chunks_by_aiohttp(port: int, body: bytes, users: int, seconds: float) -> float:
    """Events counted per second, nothing else being done with them."""

    async def one(answer: aiohttp.ClientResponse) -> int:
        return sum([piece.count(b'"content"') async for piece in answer.content.iter_any()])

    return _again_and_again(port, body, users, seconds, one)


def small_by_aiohttp(port: int, body: bytes, users: int, seconds: float) -> float:
    """Small answers read per second, nothing else being done with them."""

    async def one(answer: aiohttp.ClientResponse) -> int:
        await answer.read()
        return 1

    return _again_and_again(port, body, users, seconds, one)


def _again_and_again(
    port: int, body: bytes, users: int, seconds: float, one: Callable[[aiohttp.ClientResponse], Awaitable[int]]
) -> float:
    async def user(session: aiohttp.ClientSession, until_s: float) -> int:
        counted = 0
        while time.perf_counter() < until_s:
            async with session.post(_url(port), data=body) as answer:
                counted += await one(answer)
        return counted

    async def all_users() -> float:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            begun_s = time.perf_counter()
            counted = await asyncio.gather(*(user(session, begun_s + seconds) for _ in range(users)))
            return sum(counted) / (time.perf_counter() - begun_s)

    return asyncio.run(all_users())


class _Stamping(asyncio.Protocol):
    """Sends `rounds` requests one after the other, stamps what comes and reads nothing of it."""

    def __init__(self, payload: bytes, rounds: int, on_done: Callable[[_Stamping], None]) -> None:
        self._payload = payload
        self._rounds = rounds
        self._on_done = on_done
        self.ttfts_ms: list[float] = []
        self.gaps_ms: list[float] = []

    def connection_made(self, transport: Any) -> None:
        self._descriptor = transport.get_extra_info("socket").fileno()

    def ask(self) -> None:
        self._rounds -= 1
        self._stamps: list[int] = []
        self._feed = httptools.HttpResponseParser(self).feed_data
        os.write(self._descriptor, self._payload)
        self._sent_ns = time.perf_counter_ns()

    def data_received(self, data: bytes) -> None:
        self._stamp = time.perf_counter_ns()
        self._feed(data)

    def on_body(self, body: bytes) -> None:
        if b'"content"' in body:
            self._stamps.append(self._stamp)

    def on_message_complete(self) -> None:
        self.ttfts_ms.append((self._stamps[0] - self._sent_ns) / 1e6)
        self.gaps_ms.extend((after - before) / 1e6 for before, after in itertools.pairwise(self._stamps))
        if self._rounds:
            asyncio.get_running_loop().call_soon(self.ask)
        else:
            self._on_done(self)


def by_protocol(port: int, payload: bytes, users: int, rounds: int) -> dict[str, float]:
    """A protocol on uvloop and httptools that keeps its stamps alone, in ms: what this language can see on this core."""

    async def all_users() -> tuple[list[_Stamping], float]:
        loop = asyncio.get_running_loop()
        done: list[_Stamping] = []
        all_done = asyncio.Event()

        def one_is_done(one: _Stamping) -> None:
            done.append(one)
            if len(done) == users:
                all_done.set()

        opened = [
            await loop.create_connection(lambda: _Stamping(payload, rounds, one_is_done), "127.0.0.1", port)
            for _ in range(users)
        ]
        gc.collect()
        gc.disable()
        begun_s = time.process_time()
        for _, one in opened:
            one.ask()
        async with asyncio.timeout(ANSWER_S):
            await all_done.wait()
        gc.enable()
        return done, time.process_time() - begun_s

    done, cpu_s = uvloop.run(all_users())
    return {
        "ttft_p99_ms": float(np.percentile([one for each in done for one in each.ttfts_ms], 99)),
        "itl_p99_ms": float(np.percentile([one for each in done for one in each.gaps_ms], 99)),
        "cpu_s_per_1000_tokens": cpu_s / (users * rounds * TOKENS) * 1000,
    }


class _Bare(asyncio.Protocol):
    """Sends the next request when something has come; with `parsing`, when an answer has."""

    answers = 0

    def __init__(self, payload: bytes, until_s: float, *, parsing: bool) -> None:
        self._payload = payload
        self._until_s = until_s
        self._feed = httptools.HttpResponseParser(self).feed_data if parsing else None

    def connection_made(self, transport: Any) -> None:
        self._descriptor = transport.get_extra_info("socket").fileno()
        os.write(self._descriptor, self._payload)

    def data_received(self, data: bytes) -> None:
        if self._feed is not None:
            self._feed(data)
        else:
            self.on_message_complete()

    def on_body(self, _body: bytes) -> None:
        """As a client needs it."""

    def on_message_complete(self) -> None:
        self.answers += 1
        if time.perf_counter() < self._until_s:
            os.write(self._descriptor, self._payload)


def small_by_protocol(port: int, payload: bytes, users: int, seconds: float, *, parsing: bool) -> float:
    """What a protocol on uvloop takes per second that keeps nothing: the limit of this language on this core."""

    async def all_users() -> float:
        until_s = time.perf_counter() + seconds
        loop = asyncio.get_running_loop()
        opened = [
            await loop.create_connection(lambda: _Bare(payload, until_s, parsing=parsing), "127.0.0.1", port)
            for _ in range(users)
        ]
        await asyncio.sleep(until_s - time.perf_counter())
        for transport, _ in opened:
            transport.abort()
        return sum(protocol.answers for _, protocol in opened) / seconds

    return uvloop.run(all_users())


class Peer:
    """A load generator of others, in an environment of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        listed = self._run([self._program("python"), "-m", "pip", "show", name])
        self._version = (re.findall(r"^Version: (.+)$", listed, re.MULTILINE) or ["?"])[0]

    def __str__(self) -> str:
        return f"{self.name} {self._version}"

    def measured(self, port: int, users: int) -> dict[str, float]:
        """What it reports of `users` streams: TTFT p99 in ms, and its processor time, starting up included.

        Nothing, and a line on standard error, if it fails.
        """
        requests = users * 4
        out = self.folder / f"out-{users}"
        begun = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            command = {"guidellm": self._guidellm, "aiperf": self._aiperf}[self.name](port, users, requests, out)
            self._run(command)
            ttft_ms = self._ttft_p99_ms(out)
        except (subprocess.SubprocessError, OSError, ValueError, LookupError) as error:
            print(f"{self} at {users} streams: {error}", file=sys.stderr)
            return {}
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime
        return {"ttft_p99_ms": ttft_ms, "cpu_s_per_1000_tokens": cpu_s / (requests * TOKENS) * 1000}

    def _guidellm(self, port: int, users: int, requests: int, out: Path) -> list[str]:
        rows = [json.dumps({"prompt": "word " * 60, "output_tokens_count": TOKENS})] * requests
        prompts = self._write("guidellm.jsonl", rows)
        backend = f"kind=openai_http,target=http://127.0.0.1:{port},model=m,validate_backend=false"
        return [
            self._program("guidellm"), "run", "--disable-console-interactive",
            "--backend", f"{backend},request_format=/v1/chat/completions",
            "--profile", f"kind=concurrent,streams={users}",
            "--constraint", f"kind=max_requests,count={requests}",
            "--data", f"kind=json_file,path={prompts}",
            "--output", f"kind=json,path={out}.json",
        ]  # fmt: skip

    def _aiperf(self, port: int, users: int, requests: int, out: Path) -> list[str]:
        prompts = self._write("aiperf.jsonl", [json.dumps({"text": "word " * 60})] * 64)
        # It wants a tokenizer though the server counts, and would fetch one.
        self._run([self._program("python"), "-c", _TOKENIZER, str(self.folder / "tokenizer")])
        return [
            self._program("aiperf"), "profile", "-m", "m", "-u", f"http://127.0.0.1:{port}",
            "--endpoint-type", "chat", "--streaming", "--use-server-token-count", "--no-server-metrics",
            "--no-gpu-telemetry", "--ui", "none", "--workers-max", "1", "--record-processors", "1",
            "--concurrency", str(users), "--request-count", str(requests),
            "--input-file", str(prompts), "--custom-dataset-type", "single_turn",
            "--tokenizer", str(self.folder / "tokenizer"), "--artifact-dir", str(out),
        ]  # fmt: skip

    def _ttft_p99_ms(self, out: Path) -> float:
        if self.name == "guidellm":
            (benchmark,) = json.loads(out.with_suffix(".json").read_bytes())["benchmarks"]
            return float(benchmark["metrics"]["time_to_first_token_ms"]["successful"]["percentiles"]["p99"])
        return float(json.loads((out / "profile_export_aiperf.json").read_bytes())["time_to_first_token"]["p99"])

    def _write(self, name: str, rows: list[str]) -> Path:
        path = self.folder / name
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return path

    def _program(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def _run(self, command: list[str]) -> str:
        """What a program writes; it and all that it has started are ended if it takes too long."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, cwd=self.folder, start_new_session=True
        ) as run:
            try:
                said, complained = run.communicate(timeout=ANSWER_S)
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                raise
        if run.returncode:
            raise OSError(f"{Path(command[0]).name} ended with {run.returncode}: {(said + complained)[-500:]}")
        return said


_TOKENIZER = """
import sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
made = Tokenizer(models.WordLevel({"[UNK]": 0, "word": 1, "tok": 2}, unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]").save_pretrained(sys.argv[1])
"""


def installed(folder: Path) -> list[Peer]:
    """The peers that are there or can be installed below `folder`; a line on standard error for each that cannot."""
    found = []
    for name in ("guidellm", "aiperf"):
        home = (folder / name).absolute()
        try:
            if not (home / "bin" / name).exists():
                subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=INSTALL_S)
                pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", name]
                subprocess.run(pip, check=True, timeout=INSTALL_S)
            found.append(Peer(name, home))
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{name} could not be installed: {error}", file=sys.stderr)
    return found


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1/chat/completions"
