"""A worker's process: `python -P -m wardround.load.worker`, given its orders on standard input.

The first line is JSON (`crew` writes it), then come the payloads' bytes: keys stand in them, so they are in no argument
list and in no file. When standard input ends the worker stops. It says on standard output, in lines of JSON, how it is
getting on, and last what processor time it took.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from wardround.load.attack import Attack, Orders, Target

REPORT_S = 0.5


def read_orders(source: BinaryIO) -> tuple[dict[str, Any], Orders]:
    """The orders, and beside them `out` (the file for records) and `core` (to be kept to, or null)."""
    said: dict[str, Any] = orjson.loads(source.readline())
    payloads = [source.read(size) for size in said.pop("sizes")]
    fields = said.pop("orders")
    target = Target(**fields.pop("target"))
    arrivals = [(int(at_ns), int(number)) for at_ns, number in fields.pop("arrivals_ns")]
    return said, Orders(target=target, payloads=payloads, arrivals_ns=arrivals, **fields)


def main() -> None:
    """Read the orders, carry them out, report."""
    # Ctrl-C goes to the whole group; the parent closes standard input when it has heard it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    said, orders = read_orders(sys.stdin.buffer)
    if said["core"] is not None and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {said["core"]})
    descriptor = os.open(Path(said["out"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as out, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_carry_out(orders, out))


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop


async def _carry_out(orders: Orders, out: Any) -> None:
    attack = Attack(orders, out)
    loop = asyncio.get_running_loop()
    threading.Thread(target=_stop_at_end_of_stdin, args=(loop, attack), daemon=True).start()
    reporting = asyncio.create_task(_report(attack))
    begun_s = time.process_time()
    more: dict[str, Any] = {"ended": True}
    try:
        await attack.run()
    except OSError as error:
        more["unwritten"] = str(error)
    finally:
        reporting.cancel()
    _say(attack, cpu_s=time.process_time() - begun_s, **more)


def _stop_at_end_of_stdin(loop: asyncio.AbstractEventLoop, attack: Attack) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(attack.stop)


async def _report(attack: Attack) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        _say(attack)


def _say(attack: Attack, **more: Any) -> None:
    tally = attack.tally
    ttfts_ns, tally.ttfts_ns = tally.ttfts_ns, []
    line = {
        "fired": tally.fired,
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "in_flight": attack.in_flight,
        "tokens": tally.tokens,
        "opened_late": tally.opened_late,
        "ttfts_ns": ttfts_ns,
        **more,
    }
    # A parent that is gone is noticed by standard input's end.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, orjson.dumps(line) + b"\n")


if __name__ == "__main__":
    main()
