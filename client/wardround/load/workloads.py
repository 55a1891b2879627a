"""What a load test sends: tasks' own prompts, a mix of them, made-up lengths, a file of prompts, or a run once more.

A task's prompts are those that a study would send: they are planned into a journal of their own by the very code that
plans a run, so shots, arms, fitting and choices are the same. Prompts that are not repeated are told apart from those
that are, since a server answers the latter out of its prefix cache.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.endpoints.replies import Params
from wardround.errors import DataError, WrongUse
from wardround.journal import Journal
from wardround.journal.usage import requests_of
from wardround.running.corpora import SearchedCorpus
from wardround.running.planning import Prepared, plan
from wardround.running.retrieving import retrieve
from wardround.study import Study
from wardround.task import Message, Prompt

# Short common words: nearly every tokenizer has each of them as one token.
_WORDS = """
the of and to in is was he for it with as his on be at by had not are but from or have an they which
one you were her all she there would their we him been has when who will more no if out so said what
up its about into than them can only other new some could time these two may then do first any my
now such like our over man me even most made
""".split()  # noqa: SIM905 - a list of a hundred words would be a hundred lines
MOST_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of a workload, and how its answer is to be generated; `workload` is the task's label or "synthetic"."""

    workload: str
    prompt: Prompt
    params: Params


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent: distinct requests, and the order in which they are, gone through again and again.

    `title` says what it is, for the report. `templates`: chat templates that prompts are rendered with here, as
    (SHA-256, text).
    """

    title: str
    asked: tuple[Asked, ...]
    order: tuple[int, ...]
    templates: tuple[tuple[str, str], ...] = ()

    def repeats(self, requests: int) -> int:
        """How many of the first `requests` send a prompt that was sent before."""
        sent = [self.order[number % len(self.order)] for number in range(min(requests, len(self.order)))]
        return requests - len(set(sent))


async def of_study(
    study: Study,
    prepared: Sequence[Prepared],
    pinned: Mapping[str, Sequence[str]],
    corpora: Mapping[str, SearchedCorpus],
    folder: Path,
) -> list[dict[str, list[Asked]]]:
    """The requests that a run of `study` would send to each of its models, by task; planned in `folder`, which is left.

    `pinned`: the addresses, by host, at which servers may be asked to count tokens and services to search. Raises what
    `retrieve` and `plan` raise.
    """
    found = []
    with Journal.create(folder) as journal:
        retrieved = await retrieve(study, journal, prepared, pinned, corpora)
        for model in study.models:
            # One after the other: here, unlike in a study, two rows may have one name.
            plan(study.model_copy(update={"models": (model,)}), journal, prepared, {}, pinned, retrieved)
            found.append(of_journal(journal, model.name))
            await asyncio.sleep(0)
    return found


def of_journal(journal: Journal, model: str, tasks: Sequence[str] = ()) -> dict[str, list[Asked]]:
    """The requests of `model` in a journal, answered or not, by task; each once however many arms share it."""
    found: dict[str, list[Asked]] = {}
    task_of = {cell.id: cell.task for cell in journal.cells()}
    for request, _, _, _, cell in requests_of(journal, model):
        task = task_of[cell]
        if not tasks or task in tasks:
            found.setdefault(task, []).append(Asked(task, *journal.request(request)))
    return found


def of_run(journal: Journal, model: str) -> tuple[list[Asked], list[float]]:
    """The answered requests of `model` in the order of their sending, and when that was, in seconds of the wall clock.

    A run may have gone on in several processes, whose clocks of sending have nothing to do with each other: so the time
    is reckoned back from when the reply was written down, which is some milliseconds late.
    """
    rows = journal.read(
        "SELECT requests.id, answered_at - (done_ns - sent_ns) / 1e9 AS sent_at FROM replies"
        " JOIN requests ON requests.id = replies.request WHERE requests.model = ? ORDER BY sent_at, requests.id",
        (model,),
    )
    found = [(int(request), float(sent_at_s)) for request, sent_at_s in rows]
    asked = [Asked("replay", *journal.request(request)) for request, _ in found]
    return asked, [sent_at_s for _, sent_at_s in found]


def mixed(by_task: Mapping[str, Sequence[Asked]], shares: Mapping[str, float], seed: int, length: int) -> Workload:
    """Requests drawn by `shares` (weights by task), each task's own in a seeded order of their own, `length` in all.

    With one task the order is that task's, each of its requests once. Raises `WrongUse` for a task that is not there.
    """
    missing = [task for task in shares if not by_task.get(task)]
    if missing or not shares or min(shares.values()) <= 0:
        raise WrongUse(f"no prompts for {', '.join(missing) or 'the workload'}; there are: {', '.join(by_task)}")
    chance = random.Random(seed)
    asked: list[Asked] = []
    places: dict[str, list[int]] = {}
    for task in shares:
        places[task] = list(range(len(asked), len(asked) + len(by_task[task])))
        chance.shuffle(places[task])
        asked += by_task[task]
    if len(shares) == 1:
        (only,) = places.values()
        return Workload(next(iter(shares)), tuple(asked), tuple(only))
    drawn = chance.choices(list(shares), weights=list(shares.values()), k=length)
    used = dict.fromkeys(shares, 0)
    order = []
    for task in drawn:
        order.append(places[task][used[task] % len(places[task])])
        used[task] += 1
    total = sum(shares.values())
    title = ", ".join(f"{task} {100 * weight / total:.0f} %" for task, weight in shares.items())
    return Workload(title, tuple(asked), tuple(order))


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens: log-normal with this mean and coefficient of variation (0: always the mean)."""

    mean: float
    variation: float = 0.0

    def drawn(self, chance: random.Random) -> int:
        """One length, at least 1."""
        if not self.variation:
            return max(1, round(self.mean))
        import math

        sigma = math.sqrt(math.log(1 + self.variation**2))
        return max(1, round(chance.lognormvariate(math.log(self.mean) - sigma * sigma / 2, sigma)))


def synthetic(
    prompt: Lengths,
    output: Lengths,
    *,
    shared_prefix: float,
    number: int,
    seed: int,
    extra_body: Mapping[str, Any] | None = None,
) -> Workload:
    """`number` prompts of common words, about one token each, of which the share `shared_prefix` begins all alike.

    Output lengths are limits of new tokens; an engine keeps to them exactly only if told to ignore the end of text
    (`extra_body: {ignore_eos: true}` at vLLM). Raises `WrongUse` for a share outside 0 to 1.
    """
    if not 0 <= shared_prefix <= 1:
        raise WrongUse(f"the share of the common prefix goes from 0 to 1, not {shared_prefix}")
    chance = random.Random(seed)
    longest = chance.choices(_WORDS, k=max(1, round(prompt.mean * 4)))
    asked = []
    for _ in range(number):
        words = prompt.drawn(chance)
        common = min(round(words * shared_prefix), len(longest))
        content = " ".join([*longest[:common], *chance.choices(_WORDS, k=words - common)])
        params = Params(max_tokens=output.drawn(chance), extra_body=dict(extra_body or {}))
        asked.append(Asked("synthetic", Prompt((Message("user", content),)), params))
    title = (
        f"synthetic: prompts of {prompt.mean:g} tokens ({shared_prefix:.0%} common prefix), answers of {output.mean:g}"
    )
    return Workload(title, tuple(asked), tuple(range(number)))


def of_file(path: Path, max_tokens: int) -> tuple[Workload, list[float]]:
    """Prompts of a file of JSON lines, and the times in seconds of those that have one (`at_s`).

    A line has `messages` (a list of role and content) or `prompt` (a text), and may have `max_tokens` and `at_s`.
    Raises `DataError` with the line that is wrong.
    """
    asked, times = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines[:MOST_ROWS], start=1):
        if line.strip():
            try:
                row = json.loads(line)
                asked.append(_asked(row, max_tokens))
                if row.get("at_s") is not None:
                    times.append(float(row["at_s"]))
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                raise DataError(
                    f'{path}: line {number} is no prompt ({error}); write {{"prompt": "…"}} or'
                    ' {"messages": [{"role": "user", "content": "…"}]}, and "max_tokens" and "at_s" if you like'
                ) from error
    if not asked:
        raise DataError(f"{path} holds no prompts")
    if times and len(times) < len(asked):
        raise DataError(f"{path}: {len(times)} of {len(asked)} lines have `at_s`; give it to all or to none")
    return Workload(path.name, tuple(asked), tuple(range(len(asked)))), times


def _asked(row: Any, max_tokens: int) -> Asked:
    limit = row.get("max_tokens", max_tokens)
    if type(limit) is not int or limit < 1:
        raise ValueError(f"max_tokens is {limit!r}")
    if "messages" in row:
        messages = tuple(Message(one["role"], one["content"]) for one in row["messages"])
        if not messages or any(
            one.role not in ("system", "user", "assistant") or not isinstance(one.content, str) for one in messages
        ):
            raise ValueError("messages need a role of system, user or assistant, and content")
        return Asked("file", Prompt(messages), Params(max_tokens=limit))
    if not isinstance(row["prompt"], str):
        raise TypeError("prompt is no text")
    return Asked("file", Prompt((Message("user", row["prompt"]),)), Params(max_tokens=limit))
