from __future__ import annotations

import json
from typing import Any

import pytest

from wardround.baseline.constraints import (
    Choice,
    Form,
    JsonObject,
    regex,
    response_format,
    schema,
    structured_outputs,
)
from wardround.baseline.reading import Reading, read_prompt
from wardround.baseline.refusals import Refused

LABELS = ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")
NOTHING = read_prompt([("user", "A case.")])
OPTIONS = read_prompt([("user", "Which?\nA: Aspirin\nB: Heparin and insulin")])
ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": list(LABELS)}},
    "required": ["answer"],
    "additionalProperties": False,
}


def schema_of(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}


@pytest.mark.parametrize(
    ("said", "choices", "reading", "chosen"),
    [
        pytest.param("NEUTRAL", LABELS, NOTHING, "NEUTRAL", id="the same"),
        pytest.param(" neutral\n", LABELS, NOTHING, "NEUTRAL", id="the same but for case and blanks"),
        pytest.param("It is NEUTRAL, no CONTRADICTION.", LABELS, NOTHING, "NEUTRAL", id="the first that is named"),
        pytest.param("a contradiction then", LABELS, NOTHING, "CONTRADICTION", id="named in another case"),
        pytest.param("The correct answer is B: Heparin", ("A", "B"), OPTIONS, "B", id="a letter in a sentence"),
        pytest.param("A", ("Heparin and insulin", "Aspirin"), OPTIONS, "Aspirin", id="an option's letter for its text"),
        pytest.param("Heparin and insulin", ("A", "B"), OPTIONS, "B", id="an option's text for its letter"),
        pytest.param("insulin", ("Some aspirin", "Much insulin"), NOTHING, "Much insulin", id="most words"),
        pytest.param("no idea", ("X", "Y"), NOTHING, "X", id="the first where nothing fits"),
        pytest.param("NOT BENIGN at all", ("BENIGN", "NOT BENIGN"), NOTHING, "NOT BENIGN", id="the earlier of two"),
        pytest.param("", LABELS, NOTHING, "ENTAILMENT", id="nothing said"),
    ],
)
def test_an_answer_becomes_the_choice_it_means(
    said: str, choices: tuple[str, ...], reading: Reading, chosen: str
) -> None:
    assert Choice(choices).fitted(said, reading) == chosen


def test_an_object_holds_the_choice_in_its_answer() -> None:
    form = schema(ANSWER_SCHEMA)
    assert json.loads(form.fitted("It is neutral.", NOTHING)) == {"answer": "NEUTRAL"}
    assert [json.loads(text)["answer"] for text in form.allowed] == list(LABELS)


def test_an_object_without_choices_holds_the_answer_as_it_is() -> None:
    form = schema({"type": "object", "properties": {"answer": {"type": "string"}}})
    assert json.loads(form.fitted('He "fell"', NOTHING)) == {"answer": 'He "fell"'}
    assert form.allowed == ()


def test_the_only_property_holds_the_answer_whatever_it_is_called() -> None:
    form = schema({"properties": {"label": {"enum": ["YES", "NOT"]}}})
    assert form == JsonObject((("label", ("YES", "NOT")),), "label")


def test_other_properties_have_their_first_choice_or_nothing() -> None:
    properties = {"why": {"type": "string"}, "sure": {"enum": ["low", "high"]}, "answer": {"enum": ["YES", "NOT"]}}
    form = schema({"type": "object", "properties": properties})
    assert json.loads(form.fitted("NOT", NOTHING)) == {"why": "", "sure": "low", "answer": "NOT"}


def test_a_property_may_be_defined_elsewhere_in_the_schema() -> None:
    value = {"$defs": {"Label": {"enum": ["YES", "NOT"]}}, "properties": {"answer": {"$ref": "#/$defs/Label"}}}
    assert schema(value) == JsonObject((("answer", ("YES", "NOT")),), "answer")


def test_a_schema_may_come_as_text_or_be_a_mere_list_of_words() -> None:
    assert schema(json.dumps(ANSWER_SCHEMA)) == schema(ANSWER_SCHEMA)
    assert schema({"type": "string", "enum": ["YES", "NOT"]}) == Choice(('"YES"', '"NOT"'))


@pytest.mark.parametrize(
    ("pattern", "choices"),
    [
        ("(YES|NOT)", ("YES", "NOT")),
        ("(?:A|B|C)", ("A", "B", "C")),
        ("^(A|B)$", ("A", "B")),
        ("YES|NOT", ("YES", "NOT")),
        (r"I10\.9|E11", ("I10.9", "E11")),
        ("ONE", ("ONE",)),
    ],
)
def test_a_pattern_of_alternatives_is_a_choice(pattern: str, choices: tuple[str, ...]) -> None:
    assert regex(pattern) == Choice(choices)


@pytest.mark.parametrize("pattern", ["", "[A-E]", "A+", "(A|B)(C|D)", "A.B", r"\d", "(A|)", "((A))", 7, None])
def test_a_pattern_that_is_more_is_refused(pattern: Any) -> None:
    with pytest.raises(Refused, match="Unsupported pattern"):
        regex(pattern)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonObject((("answer", None),), "answer")),
        (schema_of(ANSWER_SCHEMA), JsonObject((("answer", LABELS),), "answer")),
    ],
)
def test_a_response_format_is_a_form(value: Any, form: Form | None) -> None:
    assert response_format(value) == form


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (None, None),
        ({"choice": ["A", "B"]}, Choice(("A", "B"))),
        ({"choice": ["A", "A"], "whitespace_pattern": None}, Choice(("A",))),
        ({"regex": "(A|B)"}, Choice(("A", "B"))),
        ({"json": ANSWER_SCHEMA}, JsonObject((("answer", LABELS),), "answer")),
        ({"json_object": True}, JsonObject((("answer", None),), "answer")),
    ],
)
def test_structured_outputs_are_a_form(value: Any, form: Form | None) -> None:
    assert structured_outputs(value) == form


@pytest.mark.parametrize(
    "value",
    [
        "json_object",
        {"type": "grammar"},
        {},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        schema_of({"type": "array", "items": {}}),
        schema_of({"type": "object"}),
        schema_of({"type": "object", "properties": {}}),
        schema_of({"type": "object", "properties": {"answer": {"type": "integer"}}}),
        schema_of({"type": "object", "properties": {"answer": {"enum": [1, 2]}}}),
        schema_of({"type": "object", "properties": {"answer": {"enum": []}}}),
        schema_of({"type": "object", "properties": {"answer": {"$ref": "#/$defs/None"}}}),
        schema_of({"type": "object", "properties": {"one": {"type": "string"}, "two": {"type": "string"}}}),
        schema_of("{"),
    ],
)
def test_a_response_format_that_cannot_be_kept_to_is_refused(value: Any) -> None:
    with pytest.raises(Refused) as caught:
        response_format(value)
    assert (caught.value.status, caught.value.param) == (400, "response_format")


@pytest.mark.parametrize(
    "value",
    ["A", {}, {"choice": []}, {"choice": "A"}, {"choice": [1]}, {"choice": ["A"], "regex": "A"}, {"grammar": "x"}],
)
def test_structured_outputs_that_cannot_be_kept_to_are_refused(value: Any) -> None:
    with pytest.raises(Refused):
        structured_outputs(value)
