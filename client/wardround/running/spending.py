"""What a run may use up: money and tokens, reserved before a request is sent and settled when its outcome is there.

    reserved     the most that a request can cost: a token for each byte of its prompt (no tokenizer makes more), what a
                 chat template adds, and all the new tokens it is granted, times the model's price
    spent        what the server counted, times the price; replies without counts, and attempts that broke or timed out
                 after they were sent (a provider may charge for them), count as much as was reserved for them;
                 attempts that were answered with an error's status, or could not connect, count nothing

A request is sent only if spent, reserved and its own reservation together stay within the budget. What was spent by
earlier runs of the folder is read from its journal, for the models that the study still has. Not counted are prices by
the hour, and requests that were in flight when a run was stopped: no record of them is left. The embedded server's
baselines are free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wardround.catalogue import EMBEDDED, Price
from wardround.endpoints.replies import Failure, Params, Reply
from wardround.errors import StudyError
from wardround.journal import Journal
from wardround.journal.usage import cost_usd
from wardround.running.budget import TOKENS_A_PROMPT, TOKENS_A_TURN
from wardround.study import Study
from wardround.task import Prompt

# Fields of a request's body by which a model's row may grant more new tokens than the task does.
_GRANTS = ("max_tokens", "max_completion_tokens", "max_new_tokens")
# Kinds of failure that, without a status, mean that no request went out.
_NEVER_SENT = {"connect", "missing_template", "bad_request"}


def check_prices(study: Study) -> None:
    """Raise `StudyError` if the study has a budget in dollars and a model whose cost is not known."""
    if study.budget.usd is None:
        return
    for model in study.models:
        if model.price is None and model.base_url != EMBEDDED:
            raise StudyError(
                f"budget: usd: model {model.name!r} has no `price`; give its row one (`input` and `output`, in dollars"
                " per million tokens; 0 for a server of your own), or bound `tokens` instead"
            )


@dataclass(frozen=True, slots=True)
class Reserved:
    """What was put aside for one attempt: the most tokens of its prompt and answer, and what those cost in dollars."""

    model: str
    prompt_tokens: int
    output_tokens: int
    usd: float

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.prompt_tokens + self.output_tokens


_NOTHING = Reserved("", 0, 0, 0.0)


class Spending:
    """What a study has spent, what is reserved by requests in flight, and what of its budget is left."""

    def __init__(self, study: Study, journal: Journal) -> None:
        self._budget = study.budget
        self._bounded = study.budget.usd is not None or study.budget.tokens is not None
        self._prices = {model.name: model.price or Price() for model in study.models if model.base_url != EMBEDDED}
        self._spent_usd = self._reserved_usd = 0.0
        self._spent_tokens = self._reserved_tokens = 0
        self._in_flight = 0
        self._refused_attempts = 0
        self._uncounted = 0
        # Told when a reservation was settled: what did not fit may fit now.
        self.on_settled: Callable[[], None] = _nobody
        if self._bounded:
            self._add_earlier(journal)

    @property
    def awaited(self) -> bool:
        """Whether requests in flight may turn out to cost less than is reserved for them."""
        return self._in_flight > 0

    def reserve(self, model: str, prompt: Prompt, params: Params) -> Reserved | None:
        """Put aside what a request of `model` may cost; None if the budget could be passed by it."""
        if not self._bounded or model not in self._prices:
            return _NOTHING
        wanted = self._most(model, prompt, params)
        usd, tokens = self._budget.usd, self._budget.tokens
        if usd is not None and self._spent_usd + self._reserved_usd + wanted.usd > usd:
            return None
        if tokens is not None and self._spent_tokens + self._reserved_tokens + wanted.tokens > tokens:
            return None
        self._in_flight += 1
        self._reserved_usd += wanted.usd
        self._reserved_tokens += wanted.tokens
        return wanted

    def settle(self, reserved: Reserved, outcome: Reply | Failure) -> None:
        """Replace a reservation by what its attempt has cost."""
        if reserved is _NOTHING:
            return
        self._in_flight -= 1
        # Floating-point residue of what was reserved must not add up.
        self._reserved_usd = self._reserved_usd - reserved.usd if self._in_flight else 0.0
        self._reserved_tokens -= reserved.tokens
        if isinstance(outcome, Reply):
            written = len((outcome.text + outcome.reasoning).encode("utf-8", "replace"))
            self._add_reply(reserved, outcome.prompt_tokens, outcome.output_tokens, written)
        elif may_be_charged(outcome.kind, outcome.status):
            self._add(reserved.model, reserved.prompt_tokens, reserved.output_tokens)
        self.on_settled()

    def once_more(self, reserved: Reserved, failure: Failure, prompt: Prompt, params: Params) -> Reserved | None:
        """Settle a failed attempt and put aside the same for the next; None if the budget has no room for it."""
        self.settle(reserved, failure)
        if reserved is _NOTHING:
            return reserved
        again = self.reserve(reserved.model, prompt, params)
        self._refused_attempts += again is None
        return again

    def complaints(self, not_asked: int) -> list[str]:
        """What is to be said at the end, when so many requests were not asked for want of budget."""
        lines = []
        if self._bounded and (not_asked or self._refused_attempts):
            again = f", {self._refused_attempts:,} not asked again" if self._refused_attempts else ""
            lines.append(
                f"the budget of {self._shown_budget()} is used up ({self._shown_spent()} spent,"
                f" {not_asked:,} requests not asked{again}); raise `budget` and run again"
            )
        if self._uncounted:
            lines.append(
                f"{self._uncounted:,} replies came without token counts; for the budget each byte counts as a token,"
                " which is more than they cost"
            )
        return lines

    def _shown_budget(self) -> str:
        shown = []
        if self._budget.usd is not None:
            shown.append(f"${_money(self._budget.usd)}")
        if self._budget.tokens is not None:
            shown.append(f"{self._budget.tokens:,} tokens")
        return " and ".join(shown)

    def _shown_spent(self) -> str:
        shown = []
        if self._budget.usd is not None:
            shown.append(_money(self._spent_usd))
        if self._budget.tokens is not None:
            shown.append(f"{self._spent_tokens:,}")
        return " and ".join(shown)

    def _most(self, model: str, prompt: Prompt, params: Params) -> Reserved:
        texts = [*(message.content for message in prompt.messages), prompt.prefill]
        marks = TOKENS_A_PROMPT + TOKENS_A_TURN * len(texts)
        tokens = marks + sum(len(text.encode("utf-8", "replace")) for text in texts)
        granted = [params.extra_body.get(name) for name in _GRANTS]
        new = max([params.max_tokens, *(one for one in granted if isinstance(one, int))])
        return Reserved(model, tokens, new, cost_usd(self._prices[model], tokens, new, 0.0))

    def _add_reply(self, most: Reserved, prompt_tokens: int | None, output_tokens: int | None, written: int) -> None:
        """`written`: the bytes of answer and reasoning."""
        self._uncounted += prompt_tokens is None or output_tokens is None
        self._add(
            most.model,
            most.prompt_tokens if prompt_tokens is None else prompt_tokens,
            min(most.output_tokens, written) if output_tokens is None else output_tokens,
        )

    def _add(self, model: str, prompt_tokens: int, output_tokens: int) -> None:
        self._spent_usd += cost_usd(self._prices[model], prompt_tokens, output_tokens, 0.0)
        self._spent_tokens += prompt_tokens + output_tokens

    def _add_earlier(self, journal: Journal) -> None:
        """Add what the journal's replies and failed attempts have cost."""
        for model, prompt_tokens, output_tokens in journal.read(
            "SELECT model, sum(prompt_tokens), sum(output_tokens) FROM replies JOIN requests ON requests.id = request"
            " WHERE prompt_tokens IS NOT NULL AND output_tokens IS NOT NULL GROUP BY model"
        ):
            if model in self._prices:
                self._add(model, prompt_tokens, output_tokens)
        # Lists: each row's prompt is read by another query meanwhile.
        uncounted = list(
            journal.read(
                "SELECT request, model, prompt_tokens, output_tokens,"
                " length(CAST(text AS BLOB)) + length(CAST(reasoning AS BLOB))"
                " FROM replies JOIN requests ON requests.id = request"
                " WHERE prompt_tokens IS NULL OR output_tokens IS NULL"
            )
        )
        for request, model, prompt_tokens, output_tokens, written in uncounted:
            if model in self._prices:
                most = self._most(model, *journal.request(request))
                self._add_reply(most, prompt_tokens, output_tokens, written)
        failed = list(
            journal.read("SELECT request, model, kind, status FROM failures JOIN requests ON requests.id = request")
        )
        for request, model, kind, status in failed:
            if model in self._prices and may_be_charged(kind, status):
                most = self._most(model, *journal.request(request))
                self._add(model, most.prompt_tokens, most.output_tokens)


def may_be_charged(kind: str, status: int | None) -> bool:
    """Whether a provider may charge for an attempt that failed so: it was sent, and not answered with an error."""
    return status < 300 if status is not None else kind not in _NEVER_SENT


def _money(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 1 else f"{usd:.3g}"


def _nobody() -> None:
    """Nobody wants to be told."""
