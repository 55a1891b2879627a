"""Arms of two steps: the model names things, texts are looked up for each of them, and it answers with these in view.

Both questions are requests of one cell. A sample asks its first question until that has a reply; then, and from then
on, it asks the second, whose prompt is the task's own with what was found behind it. So a first question that fails is
a failure of the sample, of its own kind, and a run that was stopped goes on where it was. What each model is shown
depends on what it named: here alone passages are the model's own.

Noted with an ask of the first question: `evidence`, and `awaits`, which keeps its reply from being taken for an answer.
With one of the second:

    first       the request of the first question, whose tokens and time the sample took besides
    named       what the model named, shortened; `retrievals` the keys of what was searched for each
    passages    the ids of the texts shown, the best of each thing first; `k` how many, `of` so many that were found
    tokens, bounded      as in `evidence`; half of the model's room at most is for what was found
    hit, recall          whether any of the right texts was shown, and their share: what the answer can reach at most
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wardround.journal import Asked, Journal, Row
from wardround.journal.records import AWAITS, FIRST, canonical, sha256
from wardround.journal.retrievals import KeptPassage, keep_passages
from wardround.journal.usage import reply_to
from wardround.running.budget import Counter, fitted, room_for_prompt
from wardround.running.preparing import Prepared
from wardround.running.searching import Pool, Searcher
from wardround.study import Arm
from wardround.task import Document, Message, Prompt, Sample, TwoStep
from wardround.text import storable

# Texts found for each thing that was named, unless an arm's `k` says otherwise.
K = 8
# So many things are looked up, and so many characters of each: an answer may ramble on.
MOST_NAMED = 60
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A thing that was named, the texts found for it, best first, and the search's key in the journal."""

    name: str
    found: tuple[Document, ...]
    retrieval: str


class TwoSteps:
    """The rows of a task in an arm of two steps."""

    def __init__(self, journal: Journal, one: Prepared, arm: Arm) -> None:
        assert one.rules.two_step is not None
        self._journal = journal
        self._one = one
        self._arm = arm
        self._steps: TwoStep = one.rules.two_step
        self._searcher = Searcher(journal, None)
        self._pool: tuple[Pool, Mapping[str, Document]] | None = None

    def row(self, cell: Asked, sample: Sample, context: int | None, counter: Counter) -> Row:
        """What `cell` asks about a sample now; call inside a transaction. `context` as in `budget.fitted`."""
        first = self._first(cell, sample, context, counter)
        answered = reply_to(self._journal, cell, first)
        if answered is None:
            return first
        request, text = answered
        named = [storable(name)[:LONGEST_NAME] for name in self._steps.named(text)][:MOST_NAMED]
        return self._second(sample, request, [self._look_up(name) for name in named], context, counter)

    def _first(self, cell: Asked, sample: Sample, context: int | None, counter: Counter) -> Row:
        steps = self._steps
        rules = replace(
            self._one.rules, prompt=steps.prompt, fit=steps.fit, max_tokens=steps.max_tokens, prompt_limit=None
        )
        # What the model may think before it answers, it may here, too.
        limit = cell.params.max_tokens - self._one.rules.max_tokens + steps.max_tokens
        row = fitted(rules, sample, (), context, counter)
        return replace(row, evidence={"evidence": self._arm.evidence, AWAITS: "second step"}, max_tokens=limit)

    def _look_up(self, name: str) -> LookedUp:
        pool, texts = self._searched()
        key, found = self._searcher.search("bm25", pool, name)
        # An id may have several texts, and so be found several times.
        ids = list(dict.fromkeys(hit for hit, _ in found.hits))[: self._arm.k or K]
        return LookedUp(name, tuple(texts[one] for one in ids), key)

    def _searched(self) -> tuple[Pool, Mapping[str, Document]]:
        if self._pool is None:
            pool = self._steps.pool()
            pairs = [(text.id, text.text) for text in pool]
            ids, texts = zip(*pairs, strict=True) if pairs else ((), ())
            self._pool = Pool(sha256(canonical(pairs)), ids, texts), {text.id: text for text in reversed(pool)}
        return self._pool

    def _second(
        self, sample: Sample, request: int, looked_up: Sequence[LookedUp], context: int | None, counter: Counter
    ) -> Row:
        rules = self._one.rules
        room = room_for_prompt(context, rules, len(rules.prompt(sample, self._one.shots).messages))
        budget = self._arm.evidence_tokens or 0
        most = budget if room is None else min(budget, room // 2)
        offered = _best_of_each(looked_up)
        number, block, tokens = self._packed(offered, looked_up, most, counter)
        left = None if room is None else max(0, room - tokens)
        # The room is reckoned already; what bounds the rest of the prompt is what the block has left of it.
        row = fitted(replace(rules, prompt_limit=left), sample, self._one.shots, None, counter)
        bounded = "found" if number == len(offered) else "budget" if most == budget else "context"
        cut = (f"{most} of {budget} tokens of evidence fit, counted by {counter.name}",) if bounded == "context" else ()
        shown = [text for text, _ in offered[:number]]
        keep_passages(self._journal, (KeptPassage(text.id, 0, 0, len(text.text), "", text.text) for text in shown))
        noted = {
            "evidence": self._arm.evidence,
            FIRST: request,
            "named": [one.name for one in looked_up],
            "retrievals": [one.retrieval for one in looked_up],
            "passages": [text.id for text in shown],
            "k": number,
            "of": len(offered),
            "tokens": tokens,
            "bounded": bounded,
            **self._quality(sample, {text.id for text in shown}),
        }
        return Row(sample, _behind(row.prompt, block), (*row.cut, *cut), noted)

    def _packed(
        self, offered: Sequence[tuple[Document, str]], looked_up: Sequence[LookedUp], most: int, counter: Counter
    ) -> tuple[int, str, int]:
        """How many of the texts offered fit into `most` tokens, the block that shows these, and its tokens."""

        def block_of(number: int) -> str:
            by_name: dict[str, list[Document]] = {one.name: [] for one in looked_up}
            for text, name in offered[:number]:
                by_name[name].append(text)
            return self._steps.show([(name, texts) for name, texts in by_name.items() if texts])

        number, too_many = 0, len(offered) + 1
        while too_many - number > 1:
            middle = (number + too_many) // 2
            if counter.count(_apart(block_of(middle))) <= most:
                number = middle
            else:
                too_many = middle
        block = block_of(number) if number else ""
        return number, block, counter.count(_apart(block)) if block else 0

    def _quality(self, sample: Sample, shown: set[str]) -> Mapping[str, Any]:
        gold = set(self._steps.gold(sample))
        return {"hit": float(bool(gold & shown)), "recall": len(gold & shown) / len(gold)} if gold else {}


def awaiting_second(journal: Journal) -> set[tuple[str, str, str]]:
    """(model, task, arm) of the cells with a sample whose first question was answered and whose second is unplanned."""
    query = (
        "SELECT DISTINCT cells.model, cells.task, cells.arm"
        " FROM asks JOIN cells ON cells.id = asks.cell AND cells.place IS NOT NULL"
        " JOIN replies ON replies.request = asks.request"
        f" WHERE json_extract(asks.evidence, '$.{AWAITS}') IS NOT NULL"
    )
    return {(str(model), str(task), str(arm)) for model, task, arm in journal.read(query)}


def _best_of_each(looked_up: Sequence[LookedUp]) -> list[tuple[Document, str]]:
    """The texts found, each once, with what they were found for: first the best of each thing, then the second."""
    offered: dict[str, tuple[Document, str]] = {}
    for rank in range(max((len(one.found) for one in looked_up), default=0)):
        for one in looked_up:
            if rank < len(one.found):
                offered.setdefault(one.found[rank].id, (one.found[rank], one.name))
    return list(offered.values())


def _apart(block: str) -> str:
    """The block as it stands behind the turn's text; the empty line takes tokens, too."""
    return f"\n\n{block}"


def _behind(prompt: Prompt, block: str) -> Prompt:
    """The prompt with the block at the end of the user's last turn."""
    if not block:
        return prompt
    *before, last = prompt.messages
    return replace(prompt, messages=(*before, Message(last.role, f"{last.content}{_apart(block)}")))
