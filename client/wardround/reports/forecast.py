"""A dry run as text: what would be asked, and what it may take."""

from __future__ import annotations

from collections.abc import Sequence

from wardround.reports.numbers import ABSENT, dollars, duration, number
from wardround.reports.table import aligned
from wardround.running.estimate import TOKENS_OF_A_CHOICE, ModelEstimate, RunEstimate

_NUMBERS = ("requests", "answered", "prompt tokens", "new tokens", "at most", "cost", "cost at most", "time")


def forecast(estimate: RunEstimate) -> list[str]:
    """The lines of a dry run: a row a model and their total, how its figures came about, and what the budget says."""
    rows = [_row(one) for one in estimate.models]
    if len(estimate.asked) > 1:
        rows.append(_total(estimate))
    return [
        "Nothing was asked. What the study asks, and what the requests that have no answer yet may take:",
        "",
        *aligned(("model", *_NUMBERS, "time told by"), rows, set(_NUMBERS)),
        "",
        *_counted_by(estimate.models),
        f"new tokens: as many as the references have, {TOKENS_OF_A_CHOICE} for one of several choices, and all that a"
        " row grants for reasoning",
        *(f"estimated for {line}" for line in estimate.stand_ins),
        *_against_budget(estimate),
    ]


def _row(one: ModelEstimate) -> Sequence[str]:
    return (
        one.model,
        number(one.requests),
        number(one.answered),
        number(one.prompt_tokens),
        number(one.new_tokens),
        number(one.most_new_tokens),
        dollars(one.cost_usd),
        dollars(one.most_cost_usd),
        duration(one.time_s),
        one.time_by,
    )


def _total(estimate: RunEstimate) -> Sequence[str]:
    asked = estimate.asked
    rest = " but the embedded" if len(asked) < len(estimate.models) else ""
    time = duration(estimate.time_s)
    part = estimate.time_s is not None and any(one.time_s is None for one in asked)
    return (
        f"all{rest}",
        number(sum(one.requests for one in asked)),
        number(sum(one.answered for one in asked)),
        number(estimate.prompt_tokens),
        number(estimate.new_tokens),
        number(estimate.most_new_tokens),
        dollars(estimate.cost_usd, at_least=any(one.cost_usd is None for one in asked)),
        dollars(estimate.most_cost_usd) if all(one.price for one in asked) else ABSENT,
        f"≥ {time}" if part else time,
        "",
    )


def _counted_by(models: Sequence[ModelEstimate]) -> list[str]:
    """What counted, and for whom: "prompt tokens by tokenizer tokenizer.json (hosted)"."""
    lines = []
    for name in dict.fromkeys(one.counted_by for one in models):
        counted = [one.model for one in models if one.counted_by == name]
        whose = "" if len(counted) == len(models) else f" ({', '.join(counted)})"
        lines.append(f"prompt tokens by {name}{whose}")
    return lines


def _against_budget(estimate: RunEstimate) -> list[str]:
    lines = []
    budget = estimate.budget
    if budget.usd is not None:
        limit, spent = dollars(budget.usd), estimate.spent_usd
        expected, most = estimate.charged_usd, estimate.most_charged_usd
        hourly = any(one.price and one.price.hour for one in estimate.asked)
        before = (" without what is paid by the hour" if hourly else "") + (
            f" after {dollars(spent)} spent" if spent else ""
        )
        if spent + expected > budget.usd:
            lines.append(f"expected {dollars(expected)}{before} is above the budget of {limit}")
        elif spent + most > budget.usd:
            lines.append(
                f"expected {dollars(expected)}{before} is within the budget of {limit}, {dollars(most)} is not"
            )
        else:
            lines.append(f"expected {dollars(expected)}{before} is within the budget of {limit}")
    if budget.tokens is not None:
        limit, spent_tokens = number(budget.tokens), estimate.spent_tokens
        tokens = estimate.prompt_tokens + estimate.new_tokens
        before = f" after {number(spent_tokens)} spent" if spent_tokens else ""
        where = "above" if spent_tokens + tokens > budget.tokens else "within"
        lines.append(f"expected {number(tokens)} tokens{before} is {where} the budget of {limit}")
    return lines
