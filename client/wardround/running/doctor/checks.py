"""The checks of an endpoint that answers: each asks a question or two and reads the answer.

The prompts are invented and harmless. What an answer says is never looked at, only its form: whether it ends at a stop
string, whether it is the same again. So the checks hold for a model that talks nonsense as well.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wardround.catalogue import Model
from wardround.endpoints import Chunk, Failure, Params, Reply, ask_until_answered
from wardround.endpoints.probing import ServerFacts, counts_tokens
from wardround.endpoints.replies import Choosing, Endpoint
from wardround.endpoints.templates import PLAIN
from wardround.endpoints.tokens import counter_without_server
from wardround.errors import CatalogueError
from wardround.running.doctor.findings import NOTHING, YES, Finding, no, of_failure, said
from wardround.task import Message, Prompt
from wardround.wire import Wire

NEW_TOKENS = 32
ATTEMPTS = 2
TIMED = 3
SEED = 7
STOPS_AT_MOST = 4
STOP_LENGTH = 4
# So much of an answer must agree before it counts as the same one's beginning.
SAME_LETTERS = 6
SHORTEST_TO_CONTINUE = 16

HELLO = Prompt((Message("user", "Say hello in one short sentence."),))
COUNTING = Prompt((Message("user", "Write the numbers from one to thirty in words, separated by commas."),))
WITH_SYSTEM = Prompt((Message("system", "You answer in one short sentence."), *HELLO.messages))
LETTERS = ("A", "B")
WHICH_LETTER = Prompt((Message("user", "Which letter comes first, A or B? Answer with the letter."),), choices=LETTERS)
# Nothing that a model would say by itself when it is asked to say hello.
ODD_WORDS = ("OSPREY", "WALRUS")


@dataclass(frozen=True, slots=True)
class Asking:
    """An endpoint and how it is asked in a study: with its row's template and further fields."""

    model: Model
    endpoint: Endpoint
    template: str | None

    async def ask(
        self,
        prompt: Prompt,
        *,
        temperature: float = 0.0,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        choose: Choosing = "parse",
        on_chunk: Callable[[Chunk], None] | None = None,
        attempts: int = ATTEMPTS,
    ) -> Reply | Failure:
        """Ask, and once more if the moment was wrong."""
        params = Params(
            max_tokens=NEW_TOKENS + self.model.reasoning_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=tuple(dict.fromkeys((*stop, *self.model.stop)))[:STOPS_AT_MOST],
            extra_body=self.model.extra_body,
            template=self.template,
            choose=choose,
        )
        outcome, _ = await ask_until_answered(
            lambda: self.endpoint.ask(prompt, params, on_chunk=on_chunk), attempts=attempts
        )
        return outcome

    async def ask_as_studies_do(self, *, attempts: int = ATTEMPTS) -> Reply | Failure:
        """One short question with the row's own temperature."""
        row = self.model
        return await self.ask(HELLO, temperature=row.temperature, top_p=row.top_p, attempts=attempts)


def answers(outcome: Reply | Failure) -> bool:
    """Whether the request was taken and answered, be it by reasoning alone."""
    return isinstance(outcome, Reply) or outcome.kind == "cut_in_reasoning"


def template(asking: Asking) -> Finding:
    """Where prompts are rendered, once the chat was found to work."""
    if asking.template is None:
        return YES
    return Finding("yes", "plain" if asking.template == PLAIN else "here")


async def system_role(asking: Asking) -> Finding:
    """Whether a system message is accepted; nothing to find where none is sent."""
    if asking.model.system == "merge" or asking.template == PLAIN:
        return NOTHING
    outcome = await asking.ask(WITH_SYSTEM)
    return YES if answers(outcome) else of_failure(_failure(outcome), "no system role: set `system: merge`")


def greedy(first: Reply | Failure, second: Reply | Failure) -> Finding:
    """Whether the same question at temperature 0 got the same answer twice."""
    for outcome in (first, second):
        if not answers(outcome):
            return of_failure(_failure(outcome), "greedy decoding is refused: set the row's `temperature`")
    if _text(first) == _text(second):
        return YES if _text(first) else NOTHING
    return no("two greedy answers differ: a run cannot be repeated to the letter; look at the server's sampling")


async def stop_honoured(asking: Asking, free: Reply | Failure) -> Finding:
    """Ask again what was answered, now with a piece of that answer as stop string."""
    piece = _piece(_text(free))
    if not isinstance(free, Reply) or not piece:
        return Finding("unclear", cure="its answers are too short to see whether stop strings are honoured")
    outcome = await asking.ask(COUNTING, stop=(piece,))
    if not isinstance(outcome, Reply):
        return of_failure(outcome, "stop strings are refused: leave `stop` out of its row")
    # The answer is cut here in any case; what the server did shows in how much it wrote.
    written, before = outcome.output_tokens, free.output_tokens
    if written is None or before is None:
        return Finding("unclear", cure="it gives no token counts to see whether stop strings are honoured")
    if written < before:
        return YES
    if outcome.text.strip() == free.text.partition(piece)[0].strip():
        return no("stop strings are ignored: it writes on to the token limit and takes its time, so lower `max_tokens`")
    return Finding("unclear", cure="its answers differ too much to see whether stop strings are honoured")


async def prefill_continued(asking: Asking, free: Reply | Failure) -> Finding:
    """Begin the answer with the first half of the one that was given: who continues gives the second half.

    Nothing to find where text is sent: it is continued or nothing.
    """
    if asking.model.prefill == "drop" or asking.template is not None:
        return NOTHING
    text = _text(free)
    begun = text[: text.rfind(" ", 0, max(1, len(text) // 2))] if len(text) >= SHORTEST_TO_CONTINUE else ""
    if not begun.strip():
        return Finding("unclear", cure="its answers are too short to see whether a begun answer is continued")
    outcome = await asking.ask(Prompt(COUNTING.messages, prefill=begun))
    if not isinstance(outcome, Reply):
        return of_failure(outcome, "a begun answer is refused: set `prefill: drop`")
    whole, joined, alone = _letters(text), _letters(begun + outcome.text), _letters(outcome.text)
    agreeing = min(len(whole), len(_letters(begun)) + SAME_LETTERS)
    if alone and joined[:agreeing] == whole[:agreeing]:
        return YES
    if alone[:SAME_LETTERS] == whole[:SAME_LETTERS]:
        return no("a begun answer is repeated or begun anew, not continued: set `prefill: drop`")
    return Finding("unclear", cure="cannot see whether a begun answer is continued; `prefill: drop` does without")


async def logprobs(asking: Asking) -> Finding:
    """Whether the likelihoods of an answer's first token come with it."""
    outcome = await asking.ask(WHICH_LETTER, choose="logprobs")
    cure = "no log-probabilities: ask it in no arm with `choice: logprobs`"
    if isinstance(outcome, Reply):
        return no(cure) if outcome.logprobs is None else YES
    return of_failure(outcome, cure)


async def structured(asking: Asking) -> Finding:
    """Whether an answer keeps to words that the model would not say by itself."""
    outcome = await asking.ask(Prompt(HELLO.messages, choices=ODD_WORDS), choose="structured")
    cure = "answers are not kept to a form: ask it in no arm with `choice: structured`"
    if asking.model.structured == "response_format":
        cure += ", or set `structured: structured_outputs` (vLLM)"
    if isinstance(outcome, Reply):
        return YES if outcome.text.strip() in ODD_WORDS else no(cure)
    return of_failure(outcome, cure)


async def seed(asking: Asking) -> Finding:
    """Whether the same seed draws the same answer twice."""
    first = await asking.ask(COUNTING, temperature=1.0, seed=SEED)
    second = await asking.ask(COUNTING, temperature=1.0, seed=SEED) if answers(first) else first
    if not answers(second):
        failure = _failure(second)
        if failure.kind in ("connect", "broken_stream"):
            # Others were answered a moment ago: vLLM on a CPU is known to die of a seed.
            return no(f"the server broke off at a seed: leave `seed` out of the study ({said(failure)})")
        return of_failure(failure, "a seed is refused: leave `seed` out of the study")
    if _text(first) != _text(second):
        return no("the same seed draws different answers: only temperature 0 can be repeated")
    return YES if _text(first) else NOTHING


def context(asking: Asking, facts: ServerFacts) -> Finding:
    """The server's limit beside the row's."""
    row = asking.model.context
    if facts.context is None:
        return NOTHING
    if row is not None and row > facts.context:
        return Finding("no", f"{facts.context:,}", f"the row says {row:,} tokens: set `context: {facts.context}`")
    return Finding("yes" if row else "none", f"{facts.context:,}")


async def tokens(asking: Asking, wire: Wire, base_url: str) -> Finding:
    """What counts the tokens of a prompt: the tokenizer's file, the server, or an estimate."""
    try:
        counter = counter_without_server(asking.model)
    except CatalogueError as error:
        return no(str(error))
    if counter.exact:
        return Finding("yes", counter.name.partition(" ")[0])
    if await counts_tokens(asking.model, wire, base_url=base_url):
        return Finding("yes", "server")
    return Finding("none", "estimate")


async def streamed(asking: Asking) -> dict[str, Finding]:
    """Token counts in a stream, and the median TTFT and E2E of three short requests, one after the other."""
    replies: list[Reply] = []
    for _ in range(TIMED):
        outcome = await asking.ask(HELLO, on_chunk=lambda _chunk: None)
        if not isinstance(outcome, Reply):
            if answers(outcome):
                break
            return {"usage": of_failure(outcome, "streaming fails: set `stream: false`")}
        replies.append(outcome)
    if not replies:
        return {}
    counted = all(reply.output_tokens is not None for reply in replies)
    first_s = [reply.first_token_ns - reply.sent_ns for reply in replies if reply.first_token_ns is not None]
    whole_s = [reply.done_ns - reply.sent_ns for reply in replies]
    return {
        "usage": YES if counted else no("a stream has no token counts: leave `stream: true` out of its row"),
        "TTFT": Finding("none", _median(first_s)) if first_s else NOTHING,
        "E2E": Finding("none", _median(whole_s)),
    }


def _median(times_ns: Sequence[int]) -> str:
    return f"{statistics.median(times_ns) / 1e9:.3f} s"


def _failure(outcome: Reply | Failure) -> Failure:
    assert isinstance(outcome, Failure)
    return outcome


def _text(outcome: Reply | Failure) -> str:
    return outcome.text if isinstance(outcome, Reply) else ""


def _letters(text: str) -> str:
    """Blanks stand now at the end of one part and now at the beginning of the other."""
    return "".join(text.split())


def _piece(text: str) -> str:
    """Some plain characters out of the middle of an answer, "" if it has none."""
    places = [*range(len(text) // 2, len(text) - STOP_LENGTH), *range(len(text) // 2)]
    pieces = (text[place : place + STOP_LENGTH] for place in places)
    plain = (piece for piece in pieces if len(piece) == STOP_LENGTH and piece.isascii() and piece.isprintable())
    return next((piece for piece in plain if piece.strip() == piece), "")
