"""What of a case's documents a prompt shows, by the arm: all, none, as many as fit, or passages up to a budget.

Same instruction, question, options and worked examples in all arms; only the block of evidence differs. A budget is
counted in the model's own tokens: those that the prompt has more than the same prompt without any evidence, so that
headings and what a task puts between passages count, too. Passages that touch are shown as one excerpt, excerpts in the
order of the documents.

What was shown is noted with each ask:

    evidence    the kind; with `retrieval` the key of what was searched (absent where nothing was)
    passages    what was shown, best first; `k` how many, `of` so many that were found
    tokens      of evidence, as the model counts
    bounded     what ended it: "budget", "k", "context" (the model's room is smaller than the budget) or "found"
    hit, recall, span_recall, ndcg, rr, third      of what was shown, where it is known where the answer stands; nDCG
                of the first ten passages, the others of all
    whole       the share of what is known to hold the answer that stands in the prompt in whole stretches: the same
                for passages and for documents, while `hit` asks passages for an overlap and documents for a stretch
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wardround.errors import StudyError
from wardround.journal import Row
from wardround.retrieval import Passage, Spans, quality_of, third_of
from wardround.retrieval.hits import overlaps
from wardround.running.budget import Counter, fitted, room_for_prompt
from wardround.running.preparing import Prepared
from wardround.study import Arm, Study
from wardround.task import Document, Prompt, Sample

NDCG_AT = 10


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an arm's search chose for a sample: passages, best first, or worked examples.

    `shots` is None where the arm leaves them as they are. `retrieval` is the key of what was searched in the journal,
    "" if nothing was. `pool` are all passages there were to choose from. `documents` are those of the corpus that was
    searched, by id; None where it was the sample's own.
    """

    passages: tuple[Passage, ...] = ()
    pool: tuple[Passage, ...] = ()
    shots: tuple[Sample, ...] | None = None
    retrieval: str = ""
    documents: Mapping[str, Document] | None = None


def arms_of(study: Study, one: Prepared) -> list[Arm]:
    """The arms of a study that suit a task, or the task's own where the study names none.

    Raises `StudyError` if none of the study's arms suits it.
    """
    own = "closed-book"
    if any(sample.documents for sample in one.samples):
        own = one.rules.protocol
    arms = [arm for arm in study.arms or (Arm(name=own),) if suits(arm, one)]
    if arms:
        return arms
    named = ", ".join(arm.name for arm in study.arms)
    if all(arm.choice != "parse" for arm in study.arms):
        raise StudyError(f"task {one.label} has no choices, and all of the study's arms choose; give it another arm")
    raise StudyError(f"none of the study's arms ({named}) suits task {one.label}; its own is {own!r}")


def suits(arm: Arm, one: Prepared) -> bool:
    """Whether a task has what an arm shows, chooses or shortens."""
    rules = one.rules
    if arm.choice != "parse" and rules.choices is None:
        return False
    if arm.shots_by != "fixed" and not one.takes_shots:
        return False
    if arm.shots_by in ("bm25", "dense") and rules.query is None:
        return False
    own = any(sample.documents for sample in one.samples)
    if arm.corpus is not None:
        searches = rules.query is not None or arm.evidence == "random-passages"
        return not own and rules.evidence is not None and searches
    if not own:
        return arm.evidence in ("own", "none")
    match arm.evidence:
        case "own" | "full":
            return True
        case "two-step":
            return rules.two_step is not None and arm.choice == "parse"
        case "clue-oracle":
            return rules.oracle_fit is not None
        case "truncated":
            return rules.evidence is not None and one.task.fit is not None
        case "bm25" | "dense" | "hybrid":
            return rules.evidence is not None and rules.query is not None
        case "oracle-spans":
            return rules.evidence is not None and rules.gold is not None
        case "none" | "random-passages":
            return rules.evidence is not None


def row_in_arm(one: Prepared, arm: Arm, sample: Sample, chosen: Chosen, context: int | None, counter: Counter) -> Row:
    """The sample with the prompt that it has in an arm; `context` as in `budget.fitted`."""
    rules = one.rules
    shots: Sequence[Sample] = one.shots if chosen.shots is None else chosen.shots
    if arm.shots_by == "none":
        shots = ()
    noted: dict[str, Any] = {}
    if arm.shots_by != "fixed":
        noted = {"shots_by": arm.shots_by, "shots": [shot.id for shot in shots]}
        if chosen.retrieval:
            noted["retrieval"] = chosen.retrieval
    if arm.shows_passages and (sample.documents or arm.corpus is not None):
        return _with_passages(one, arm, sample, shots, chosen, context, counter, noted)
    if arm.evidence == "own" or rules.evidence is None or not sample.documents:
        if arm.evidence == "none" and rules.evidence is not None:
            # Nothing to leave out, but it stands beside the arms that search a corpus.
            noted["evidence"] = "none"
        row = fitted(rules, sample, shots, context, counter)
        return replace(row, evidence=noted) if noted else row
    bare = rules.evidence(sample, shots, ())
    if arm.evidence == "none":
        row = Row(sample, bare)
    else:
        fit = rules.oracle_fit if arm.evidence == "clue-oracle" else one.task.fit
        limits = [rules.prompt_limit]
        if arm.evidence_tokens is not None:
            limits.append(_whole(bare, counter) + arm.evidence_tokens)
        limit = min((limit for limit in limits if limit is not None), default=None)
        row = fitted(replace(rules, fit=fit, prompt_limit=limit), sample, shots, context, counter)
    noted |= {"evidence": arm.evidence, **_standing(one, sample, sample.documents, row.prompt, bare)}
    if arm.evidence_tokens is not None:
        noted["tokens"] = _tokens(row.prompt, counter) - _tokens(bare, counter)
    return replace(row, evidence=noted)


def _with_passages(
    one: Prepared,
    arm: Arm,
    sample: Sample,
    shots: Sequence[Sample],
    chosen: Chosen,
    context: int | None,
    counter: Counter,
    noted: dict[str, Any],
) -> Row:
    """As many of the chosen passages, the best first, as budget, `k` and context allow."""
    show = one.rules.evidence
    assert show is not None
    bare = show(sample, shots, ())
    base = _tokens(bare, counter)
    budget = arm.evidence_tokens or 0
    room = room_for_prompt(context, one.rules, len(bare.messages))
    most = budget if room is None else max(0, min(budget, room - _whole(bare, counter)))
    offered = chosen.passages[: arm.k]
    searched = _searched(one, sample, chosen, offered)

    def shown(number: int) -> tuple[Prompt, int]:
        if not number:
            return bare, 0
        prompt = show(sample, shots, excerpts(_documents_of(sample, chosen, offered), offered[:number]))
        return prompt, _tokens(prompt, counter) - base

    number = _first_guess(offered, most, counter)
    prompt, tokens = shown(number)
    if tokens > most:
        while tokens > most:
            number -= 1
            prompt, tokens = shown(number)
    else:
        while number < len(offered):
            longer, more = shown(number + 1)
            if more > most:
                break
            number, prompt, tokens = number + 1, longer, more
    bounded = "found" if number == len(chosen.passages) else "k" if number == arm.k else "budget"
    if bounded == "budget" and most < budget:
        bounded = "context"
    cut = (f"{most} of {budget} tokens of evidence fit, counted by {counter.name}",) if bounded == "context" else ()
    noted |= {
        "evidence": arm.evidence,
        "passages": [passage.id for passage in offered[:number]],
        "k": number,
        "of": len(chosen.passages),
        "tokens": tokens,
        "bounded": bounded,
        **({"retrieval": chosen.retrieval} if chosen.retrieval else {}),
        **_quality(one, sample, searched, offered[:number], chosen.pool),
        **_whole_spans(one, sample, searched, prompt, bare),
    }
    return Row(sample, prompt, cut, noted)


def _documents_of(sample: Sample, chosen: Chosen, offered: Sequence[Passage]) -> Sequence[Document]:
    """The documents that passages are of: the sample's own, or those of a corpus, with the best passage's first."""
    if chosen.documents is None:
        return sample.documents
    return [chosen.documents[name] for name in dict.fromkeys(passage.document for passage in offered)]


def _searched(one: Prepared, sample: Sample, chosen: Chosen, offered: Sequence[Passage]) -> Sequence[Document]:
    """`_documents_of`, and behind them those of a corpus that have the answer and were not found."""
    found = _documents_of(sample, chosen, offered)
    if chosen.documents is None:
        return found
    names = {document.id for document in found}
    missed = [name for name in _gold(one, sample) if name in chosen.documents and name not in names]
    return [*found, *(chosen.documents[name] for name in missed)]


def _first_guess(offered: Sequence[Passage], most: int, counter: Counter) -> int:
    """How many passages fit by the sum of their own tokens, without headings; what they share is counted twice."""
    total = 0
    for number, passage in enumerate(offered):
        total += counter.count(passage.text)
        if total > most:
            return number
    return len(offered)


def _tokens(prompt: Prompt, counter: Counter) -> int:
    """Tokens of a prompt's last turn, the only one that evidence changes."""
    return counter.count(prompt.messages[-1].content)


def _whole(prompt: Prompt, counter: Counter) -> int:
    """Tokens of all of a prompt's text, as `budget.fitted` counts them."""
    return sum(counter.count(text) for text in (*(turn.content for turn in prompt.messages), prompt.prefill) if text)


def excerpts(documents: Sequence[Document], passages: Iterable[Passage]) -> list[Document]:
    """Passages as a prompt shows them: in the documents' order, those that touch as one, under neutral headings.

    A heading numbers the document as a prompt with all of them would, and names no file and no patient; of a corpus's
    document it has the title.
    """
    by_document: dict[str, list[Passage]] = {}
    for passage in passages:
        by_document.setdefault(passage.document, []).append(passage)
    found = []
    for number, document in enumerate(documents, start=1):
        for joined in _joined(by_document.get(document.id, [])):
            first, end = joined[0], max(passage.end for passage in joined)
            about = f"last date before it: {first.dated}" if first.dated else ""
            about = f" ({document.heading or about})" if document.heading or about else ""
            text = document.text[first.start : end].strip()
            found.append(Document(first.id, text, f"DOCUMENT {number}, EXCERPT{about}"))
    return found


def _joined(passages: Sequence[Passage]) -> list[list[Passage]]:
    groups: list[list[Passage]] = []
    for passage in sorted(passages, key=lambda one: one.start):
        if groups and passage.start <= groups[-1][-1].end:
            groups[-1].append(passage)
        else:
            groups.append([passage])
    return groups


def gold_passages(one: Prepared, sample: Sample, pool: Sequence[Passage]) -> tuple[Passage, ...]:
    """The passages that hold the answer, in the documents' order: the ceiling of what a search can find."""
    gold = _gold(one, sample)
    return tuple(passage for passage in pool if overlaps(passage, gold))


def at_random(pool: Sequence[Passage], *seeds: object) -> tuple[Passage, ...]:
    """All passages in an order drawn by the seeds alone."""
    draw = drawn_by(*seeds)
    # random() gives the same numbers in every version of Python, shuffle() need not.
    keys = [draw.random() for _ in pool]
    return tuple(pool[place] for place in sorted(range(len(pool)), key=keys.__getitem__))


def some_at_random(pool: Sequence[Passage], number: int, *seeds: object) -> tuple[Passage, ...]:
    """So many passages of a pool, or all of a smaller one, in an order drawn by the seeds alone."""
    if len(pool) <= number:
        return at_random(pool, *seeds)
    draw = drawn_by(*seeds)
    places: dict[int, None] = {}
    while len(places) < number:
        places[int(draw.random() * len(pool))] = None
    return tuple(pool[place] for place in places)


def drawn_by(*seeds: object) -> random.Random:
    """A source of numbers that the seeds alone determine."""
    digest = hashlib.sha256("\n".join(map(str, seeds)).encode("utf-8", "replace")).digest()
    return random.Random(int.from_bytes(digest, "big"))


def _gold(one: Prepared, sample: Sample) -> Spans:
    return one.rules.gold(sample) if one.rules.gold is not None else {}


def _quality(
    one: Prepared,
    sample: Sample,
    documents: Sequence[Document],
    shown: Sequence[Passage],
    pool: Sequence[Passage],
) -> Mapping[str, Any]:
    gold = _gold(one, sample)
    quality = quality_of(shown, gold, pool, len(shown))
    at_ten = quality_of(shown, gold, pool, NDCG_AT)
    if quality is None or at_ten is None:
        return {}
    places = {document.id: place for place, document in enumerate(documents)}
    in_prompt = sorted(shown, key=lambda passage: (places[passage.document], passage.start))
    return {
        "hit": quality.hit,
        "recall": quality.recall,
        "span_recall": quality.span_recall,
        "ndcg": at_ten.ndcg,
        "rr": quality.reciprocal_rank,
        "third": third_of(in_prompt, gold),
    }


def _standing(
    one: Prepared, sample: Sample, documents: Sequence[Document], prompt: Prompt, bare: Prompt
) -> Mapping[str, Any]:
    """Whether the answer, which some of `documents` have, stands in a prompt that shows documents.

    A gold span does if its text is there more often than in the same prompt without any evidence: a question or an
    option may have the same words. A span that was cut through does not.
    """
    gold = _gold(one, sample)
    spans = [
        (document.id, document.text[start:end].strip())
        for document in documents
        for start, end in gold.get(document.id, ())
        if document.text[start:end].strip()
    ]
    if not spans:
        return {}
    content, without = prompt.messages[-1].content, bare.messages[-1].content
    there = [(name, text) for name, text in spans if content.count(text) > without.count(text)]
    return {
        "hit": float(bool(there)),
        "recall": len({name for name, _ in there}) / len({name for name, _ in spans}),
        "span_recall": (share := sum(len(text) for _, text in there) / sum(len(text) for _, text in spans)),
        "whole": share,
    }


def _whole_spans(
    one: Prepared, sample: Sample, documents: Sequence[Document], prompt: Prompt, bare: Prompt
) -> Mapping[str, Any]:
    """What `_standing` says of any prompt: by it arms of passages and arms of documents can be held side by side."""
    return {name: value for name, value in _standing(one, sample, documents, prompt, bare).items() if name == "whole"}
