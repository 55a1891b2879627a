"""The page of one sample: prompt, evidence, reasoning, answer, reference, scores, times.

Alone, or beside the same sample in another cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wardround.journal import Cell
from wardround.journal.records import params_to_dict
from wardround.reports.numbers import ABSENT, counted, number, seconds
from wardround.reports.viewer.filters import Filter, sought
from wardround.reports.viewer.finding import Line
from wardround.reports.viewer.frame import Site, badges, choice, folded, hidden, table, text_block, whole
from wardround.reports.viewer.prompts import prompt_parts
from wardround.reports.viewer.reading import Seen
from wardround.reports.viewer.shown import Pieces, attribute, differing, found_in, marked, shown


@dataclass(frozen=True, slots=True)
class Side:
    """A sample in a cell as it is shown: all of it, how it is listed (None: not yet), a remark on its scores."""

    seen: Seen
    line: Line | None
    remark: str


@dataclass(frozen=True, slots=True)
class Step:
    """Where the list goes from here: the samples before and after, and the cells that have this sample, too."""

    before: Line | None
    after: Line | None
    elsewhere: Sequence[Cell]


def sample_page(site: Site, wanted: Filter, side: Side, other: Side | None, step: Step) -> str:
    """The page as HTML; with `other`, the two stand side by side and what differs is marked."""
    words = sought(wanted.words).words
    sides = [side] if other is None else [side, other]
    answered = side.seen.answered
    columns = "".join(
        f'<section class="side" aria-label="{attribute(one.seen.cell.title)}">{_side(one, answer, words)}</section>'
        for one, answer in zip(sides, _compared([_answer(one) for one in sides], words), strict=True)
    )
    body = (
        f"<h1>{shown(answered.sample.id)}</h1>"
        f"{_moves(site, wanted, side, other, step)}"
        f'<section aria-labelledby="reference"><h2 id="reference">Reference</h2>'
        f"{_block(found_in(_plain(answered.sample.reference), words))}</section>"
        f'<div class="sides{" two" if other else ""}">{columns}</div>'
        f"{_prompts(sides, words)}"
        f"{folded('What the task file gives of the sample', _block(found_in(_plain(answered.sample.inputs), words)))}"
    )
    return whole(site, f"{answered.sample.id} · {side.seen.cell.title}", body)


def _moves(site: Site, wanted: Filter, side: Side, other: Side | None, step: Step) -> str:
    """Links to the neighbours and to the list, and the choice of what to show beside."""
    kept = {"beside": str(other.seen.cell.id)} if other else {}
    links = []
    if step.before:
        before = site.sample(step.before.place, wanted, **kept)
        links.append(f'<a rel="prev" href="{before}" data-key="k ArrowLeft">← Previous</a>')
    # The list from here on: this sample is its first line.
    from_here = {"after": str(step.before.place)} if step.before else {}
    links.append(f'<a href="{site.listing(wanted, **from_here)}" data-key="u">List</a>')
    if step.after:
        after = site.sample(step.after.place, wanted, **kept)
        links.append(f'<a rel="next" href="{after}" data-key="j ArrowRight">Next →</a>')
    cells = [("", "nothing"), *((str(one.id), f"{one.model} · {one.arm}") for one in step.elsewhere)]
    path = f"{site.base}/sample/{side.seen.cell.id}/{side.seen.answered.position}"
    return f"""<div class="moves"><nav aria-label="Samples">{" ".join(links)}</nav>
<form class="search" role="search" action="{site.base}/" method="get">{hidden(wanted.but(words="").query())}
<label>Search <input type="search" id="words" name="words" value="{attribute(wanted.words)}" maxlength="400"
 autocomplete="off" spellcheck="false" data-key="/"></label> <button>Search</button></form>
<form action="{path}" method="get">{hidden(wanted.query())}
{choice("beside", "Beside it", cells, kept.get("beside", ""), key="b")} <button>Show</button></form></div>"""


def _side(side: Side, answer: Pieces, words: Sequence[str]) -> str:
    """A sample in one cell, but for its prompt."""
    seen, line, reply = side.seen, side.line, side.seen.answered.reply
    parts = [
        f"<h2>{shown(seen.cell.title)}</h2>",
        f'<p class="badges">{badges(line) if line else ""}</p>',
        "<h3>Answer</h3>",
    ]
    parts.append(_block(answer) if reply else f'<p class="none">{_no_reply(seen)}</p>')
    if reply and reply.reasoning:
        shown_words = f"Reasoning ({counted(len(reply.reasoning.split()), 'word')})"
        parts.append(folded(shown_words, _block(found_in(reply.reasoning, words)), unfolded=not reply.text.strip()))
    return "".join([*parts, _scores(side), _evidence(seen), _facts(seen), _failures(seen)])


def _answer(side: Side) -> str:
    return side.seen.answered.reply.text if side.seen.answered.reply else ""


def _compared(texts: Sequence[str], words: Sequence[str]) -> Sequence[Pieces]:
    """Two texts with what differs marked; one, or one beside nothing, with the words of the search."""
    if len(texts) == 2 and all(texts) and (pair := differing(texts[0], texts[1])) is not None:
        return pair
    return [list(found_in(text, words)) for text in texts]


def _no_reply(seen: Seen) -> str:
    kind = seen.answered.failure or ""
    if kind == "not_asked":
        return "Not asked yet."
    words = next((one.words for one in reversed(seen.failures) if one.final), "")
    return f"No answer: {shown(kind)}{': ' if words else ''}{shown(words)}"


def _scores(side: Side) -> str:
    """One column a profile, one row a metric, in the journal's words; as shares from 0 to 1."""
    by_profile = side.seen.scores
    remark = f'<p class="soft">{shown(side.remark)}</p>' if side.remark else ""
    if not by_profile:
        return remark
    metrics = sorted({metric for scores in by_profile.values() for metric in scores})
    rows = [
        [shown(metric), *(_value(scores[metric]) if metric in scores else "" for scores in by_profile.values())]
        for metric in metrics
    ]
    header = ["metric", *(shown(profile) for profile in by_profile)]
    return remark + table("Scores under each profile", side.seen.cell.title, header, rows)


def _value(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4g}"


def _evidence(seen: Seen) -> str:
    """What the arm showed and what was left out, as the journal notes it."""
    answered = seen.answered
    rows = [[shown(name), shown(_plain(value))] for name, value in (answered.evidence or {}).items()]
    parts = [table("What was shown", seen.cell.title, ("what", "value"), rows)] if rows else []
    if seen.searched:
        ranked = enumerate(seen.searched["hits"], start=1)
        hits = [[str(rank), shown(str(name)), _value(score)] for rank, (name, score) in ranked]
        parts += [
            f"<p>Searched by {shown(seen.searched['method'])} in {seen.searched['took_ms']:.1f} ms for:</p>",
            text_block(shown(seen.searched["query"])),
            table("What was found", seen.cell.title, ("rank", "passage", "score"), hits),
        ]
    if answered.cut:
        lines = "".join(f"<li>{shown(one)}</li>" for one in answered.cut)
        parts.append(f"<p>The prompt had to do without:</p><ul>{lines}</ul>")
    return folded("Evidence", "".join(parts), unfolded=bool(answered.cut)) if parts else ""


def _facts(seen: Seen) -> str:
    """Finish reason, tokens, times and what was asked for."""
    reply = seen.answered.reply
    rows: list[tuple[str, str]] = []
    if reply:
        rows = [
            ("finish reason", reply.finish_reason or ABSENT),
            ("tokens of the prompt", number(reply.prompt_tokens)),
            ("of these cached", number(reply.cached_tokens)),
            ("tokens of the answer", number(reply.output_tokens)),
            ("waited for its turn (s)", seconds((reply.sent_ns - reply.scheduled_ns) / 1e9)),
            ("to the first token (s)", _between(reply.sent_ns, reply.first_token_ns)),
            ("to the end (s)", seconds((reply.done_ns - reply.sent_ns) / 1e9)),
            ("attempts", number(seen.attempts)),
            ("written down", ABSENT if seen.answered_at is None else _moment(seen.answered_at)),
            ("answered by", reply.fingerprint or ABSENT),
            ("at", reply.endpoint or ABSENT),
            *((f"log-probability of {name}", f"{value:.3f}") for name, value in (reply.logprobs or {}).items()),
        ]
    rows += [("sample's cluster", seen.answered.sample.cluster or ABSENT)]
    # Of the parameters, what was not set says nothing.
    asked = {name: value for name, value in params_to_dict(seen.params).items() if value not in (None, [], {})}
    rows += [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in asked.items()]
    body = "".join(f"<div><dt>{attribute(name)}</dt><dd>{shown(value)}</dd></div>" for name, value in rows)
    return folded("Tokens, times, parameters", f"<dl>{body}</dl>", unfolded=True)


def _failures(seen: Seen) -> str:
    if not seen.failures:
        return ""
    rows = [
        [
            str(one.attempt) + (", the last" if one.final else ""),
            shown(one.kind),
            str(one.status or ABSENT),
            shown(one.words),
            _moment(one.at),
        ]
        for one in seen.failures
    ]
    header = ("attempt", "failure", "status", "words", "when")
    made = table("Attempts without a reply", seen.cell.title, header, rows)
    return folded(counted(len(rows), "failed attempt"), made, unfolded=seen.answered.reply is None)


def _prompts(sides: Sequence[Side], words: Sequence[str]) -> str:
    """The prompt, or the two prompts side by side with what differs marked."""
    prompts = [one.seen.prompt for one in sides]
    if len(sides) == 1 or sides[0].seen.prompt_hash == sides[1].seen.prompt_hash:
        same = '<p class="soft">Both were asked with this prompt.</p>' if len(sides) == 2 else ""
        turns = prompt_parts(prompts[0], words)
        return f'<section aria-labelledby="prompt"><h2 id="prompt">Prompt</h2>{same}{turns}</section>'
    texts = ["\n\n".join(f"{one.role}:\n{one.content}" for one in prompt.messages) for prompt in prompts]
    columns = "".join(
        f'<section class="side" aria-label="Prompt: {attribute(one.seen.cell.title)}">'
        f"<h3>{shown(one.seen.cell.title)}</h3>{_block(pieces)}</section>"
        for one, pieces in zip(sides, _compared(texts, words), strict=True)
    )
    return f'<h2 id="prompt">Prompts</h2><div class="sides two">{columns}</div>'


def _block(pieces: Iterable[tuple[str, bool]]) -> str:
    return text_block(marked(pieces))


def _plain(value: Any) -> str:
    """A JSON value to be read: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str)


def _between(start_ns: int, end_ns: int | None) -> str:
    return ABSENT if end_ns is None else seconds((end_ns - start_ns) / 1e9)


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
