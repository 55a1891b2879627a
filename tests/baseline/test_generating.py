from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baseline.test_reading import CONTENT, ROLES, UNHURRIED
from wardround.baseline import BASELINES
from wardround.baseline.asked import Asked
from wardround.baseline.constraints import Choice, schema
from wardround.baseline.generating import (
    ANSWER_SHARE,
    END,
    Step,
    generate,
    likelihoods,
    prompt_likelihoods,
)

OPTIONS = "She takes warfarin. Which drug thins the blood?\nA: Aspirin\nB: The drug warfarin\nC: Insulin"
IN_FULL = "Begin with 'The correct answer is', the letter, a colon and the text."


def asked(case: str, *turns: tuple[str, str], model: str = "baseline-overlap", **fields: Any) -> Asked:
    """A request with one case; `turns` come after it."""
    messages = (("user", case), *turns)
    return Asked(**{"model": model, "messages": messages, "prompt": messages, "chat": True, "max_tokens": 99, **fields})


def steps_of(wanted: Asked, alternatives: int = 20) -> tuple[Step, ...]:
    return likelihoods(wanted, generate(wanted), alternatives)


def chances(step: Step) -> dict[str, float]:
    return {token: math.exp(logprob) for token, logprob in step.top}


def test_the_answer_is_the_likeliest_first_token_and_the_other_options_share_the_rest_by_their_rank() -> None:
    (step,) = steps_of(asked(OPTIONS))
    # Aspirin and Insulin share no word with the case; both count once for being there at all.
    assert [token for token, _ in step.top] == ["B", "A", "C"]
    assert chances(step) == pytest.approx({"B": ANSWER_SHARE, "A": 0.2, "C": 0.2}, abs=1e-3)


def test_an_option_that_shares_more_words_is_likelier() -> None:
    (step,) = steps_of(asked("Aspirin or warfarin, a drug?\nA: Some drug warfarin\nB: Aspirin\nC: Insulin"))
    # Two words and the one for being there, against one word and none.
    assert chances(step) == pytest.approx({"A": 0.6, "B": 0.4 * 2 / 3, "C": 0.4 / 3}, abs=1e-3)


def test_the_majority_ranks_by_how_often_the_worked_examples_said_so() -> None:
    turns = [
        (role, text)
        for said in ("YES", "NOT", "YES", "NOT", "YES")
        for role, text in (("user", "x"), ("assistant", said))
    ]
    messages = (("system", "Say YES, NOT or MAYBE."), *turns, ("user", "A case."))
    (step,) = steps_of(asked("", model="baseline-majority", messages=messages))
    assert chances(step) == pytest.approx({"YES": 0.6, "NOT": 0.3, "MAYBE": 0.1}, abs=1e-3)


def test_what_was_considered_shares_first_words_and_parts_later() -> None:
    steps = steps_of(asked(f"{IN_FULL}\n{OPTIONS}"))
    assert "".join(step.token for step in steps) == "The correct answer is B: The drug warfarin"
    assert [len(step.top) for step in steps[:4]] == [1, 1, 1, 1]
    assert {token for token, _ in steps[4].top} == {" A", " B", " C"}
    assert [len(step.top) for step in steps[5:]] == [1, 1, 1, 1]


def test_a_begun_answer_goes_on_with_the_choice() -> None:
    wanted = asked(f"{IN_FULL}\n{OPTIONS}", ("assistant", "The correct answer is"), max_tokens=1)
    assert generate(wanted).text == " B"
    (step,) = steps_of(wanted)
    assert {token for token, _ in step.top} == {" A", " B", " C"}


def test_probabilities_never_make_up_more_than_one() -> None:
    for step in steps_of(asked("He fell. He broke his hip. He went home.", model="baseline-random")):
        assert sum(chances(step).values()) < 1


def test_no_token_is_certain() -> None:
    assert all(step.logprob < 0 for step in steps_of(asked("One sentence.", model="baseline-lead")))


def test_only_as_many_alternatives_as_asked_for_are_told() -> None:
    assert [len(step.top) for step in steps_of(asked(OPTIONS), 2)] == [2]
    assert [len(step.top) for step in steps_of(asked(OPTIONS), 0)] == [0]


def test_a_choice_makes_all_choices_likely() -> None:
    wanted = asked("A case.", form=Choice(("YES", "NOT", "MAYBE")))
    steps = steps_of(wanted)
    assert chances(steps[0]) == pytest.approx({"YES": 0.6, "NOT": 0.2, "MAYBE": 0.2}, abs=1e-3)


def test_a_schema_makes_its_choices_likely_where_they_part() -> None:
    form = schema({"properties": {"answer": {"enum": ["YES", "NOT"]}}})
    steps = steps_of(asked("A case.", form=form))
    assert "".join(step.token for step in steps) == '{"answer": "YES"}'
    assert [dict(step.top).keys() for step in steps if len(step.top) > 1] == [{"YES", "NOT"}]


def test_the_end_is_a_token_where_it_counts() -> None:
    wanted = asked(OPTIONS, counts_end=True)
    assert generate(wanted).tokens == ("B", END)
    assert steps_of(wanted)[-1].token == END
    assert generate(asked(OPTIONS, counts_end=True, max_tokens=1)).ended == "length"


def test_a_stop_string_stays_where_it_is_to_be_kept() -> None:
    case = "He fell and broke his hip."
    assert generate(asked(case, model="baseline-lead", stop=(" and",))).text == "He fell"
    kept = generate(asked(case, model="baseline-lead", stop=(" and",), keeps_stop=True, counts_end=True))
    assert (kept.text, kept.ended) == ("He fell and", "stop")


def test_the_stop_string_that_is_complete_first_ends_the_answer() -> None:
    wanted = asked("abc def", model="baseline-lead", stop=("bc d", "c"), keeps_stop=True)
    assert generate(wanted).text == "abc"


def test_a_prompts_first_token_has_no_probability_and_a_frequent_one_a_high_one() -> None:
    assert prompt_likelihoods(["a", "b", "b", "c"]) == [None, math.log(0.5), math.log(0.5), math.log(0.25)]


@UNHURRIED
@given(
    model=st.sampled_from(sorted(BASELINES)),
    messages=st.lists(st.tuples(ROLES, CONTENT), min_size=1, max_size=5).map(tuple),
    stop=st.lists(st.sampled_from(["A", " ", "YES", ".", "\n"]), max_size=2).map(tuple),
    max_tokens=st.integers(1, 9),
    counts_end=st.booleans(),
    form=st.sampled_from([None, Choice(("YES", "NO")), schema({"properties": {"answer": {"type": "string"}}})]),
)
def test_any_answer_has_its_likeliest_tokens(messages: Any, **fields: Any) -> None:
    wanted = asked("", **fields, messages=messages, prompt=messages)
    generated = generate(wanted)
    assert len(generated.tokens) <= wanted.max_tokens
    assert "".join(generated.tokens).removesuffix(END if wanted.counts_end else "") == generated.text
    for token, step in zip(generated.tokens, steps_of(wanted), strict=True):
        assert step.token == token
        # Among equals the order is that of the words.
        assert step.logprob == max(logprob for _, logprob in step.top)
        assert step.logprob < 0
