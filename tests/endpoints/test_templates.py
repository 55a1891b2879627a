from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.endpoints.exchange import FINE, UNHURRIED, ask
from wardround.baseline.rendered import turns_of
from wardround.endpoints import OpenAICompletions, Params
from wardround.endpoints.templates import PLAIN, TemplateRefusal, Texts, merged, plain_text, read_template
from wardround.errors import CatalogueError
from wardround.shipped import shipped
from wardround.task import Message, Prompt

SHIPPED = ("alpaca", "chatml", "gemma", "llama-2", "llama-3", "mistral", "phi-3", "zephyr")
CONVERSATION = (
    Message("system", "Answer briefly."),
    Message("user", "Is aspirin an NSAID?"),
    Message("assistant", "Yes."),
    Message("user", "Is codeine?"),
)
RENDERED = {
    "alpaca": (
        "Answer briefly.\n\n### Instruction:\nIs aspirin an NSAID?\n\n### Response:\nYes.</s>\n\n"
        "### Instruction:\nIs codeine?\n\n### Response:\n"
    ),
    "chatml": (
        "<|im_start|>system\nAnswer briefly.<|im_end|>\n<|im_start|>user\nIs aspirin an NSAID?<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nIs codeine?<|im_end|>\n<|im_start|>assistant\n"
    ),
    "gemma": (
        "<start_of_turn>user\nAnswer briefly.\n\nIs aspirin an NSAID?<end_of_turn>\n<start_of_turn>model\n"
        "Yes.<end_of_turn>\n<start_of_turn>user\nIs codeine?<end_of_turn>\n<start_of_turn>model\n"
    ),
    "llama-2": (
        "[INST] <<SYS>>\nAnswer briefly.\n<</SYS>>\n\nIs aspirin an NSAID? [/INST] Yes. </s>"
        "<s>[INST] Is codeine? [/INST]"
    ),
    "llama-3": (
        "<|start_header_id|>system<|end_header_id|>\n\nAnswer briefly.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nIs aspirin an NSAID?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nIs codeine?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral": "[INST] Answer briefly.\n\nIs aspirin an NSAID? [/INST] Yes.</s>[INST] Is codeine? [/INST]",
    "phi-3": (
        "<|system|>\nAnswer briefly.<|end|>\n<|user|>\nIs aspirin an NSAID?<|end|>\n<|assistant|>\nYes.<|end|>\n"
        "<|user|>\nIs codeine?<|end|>\n<|assistant|>\n"
    ),
    "zephyr": (
        "<|system|>\nAnswer briefly.</s>\n<|user|>\nIs aspirin an NSAID?</s>\n<|assistant|>\nYes.</s>\n"
        "<|user|>\nIs codeine?</s>\n<|assistant|>\n"
    ),
}
ALONE = {
    "alpaca": (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nIs codeine?\n\n### Response:\n"
    ),
    "gemma": "<start_of_turn>user\nIs codeine?<end_of_turn>\n<start_of_turn>model\n",
    "llama-2": "[INST] Is codeine? [/INST]",
    "mistral": "[INST] Is codeine? [/INST]",
}
# What each template writes before an assistant's words.
BEFORE_THE_ANSWER = dict.fromkeys(SHIPPED, "") | {"llama-2": " ", "mistral": " "}


def rendered(name: str, turns: tuple[Message, ...], prefill: str = "") -> str:
    template = read_template(name)
    return Texts({template.sha256: template.text}).text_of(turns, template.sha256, prefill)


def written(template: str, turns: tuple[Message, ...] = CONVERSATION, prefill: str = "") -> str:
    """What a template of one's own makes of a conversation."""
    return Texts({"x": template}).text_of(turns, "x", prefill)


def refusal(template: str, prefill: str = "") -> str:
    with pytest.raises(TemplateRefusal) as caught:
        written(template, prefill=prefill)
    return str(caught.value)


def test_the_shipped_templates_are_those_that_are_tested_here() -> None:
    assert tuple(sorted(path.stem for path in (shipped("servers") / "templates").glob("*"))) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_template_renders_a_conversation_exactly(name: str) -> None:
    assert rendered(name, CONVERSATION) == RENDERED[name]


@pytest.mark.parametrize("name", sorted(ALONE))
def test_a_shipped_template_renders_a_lone_question_exactly(name: str) -> None:
    assert rendered(name, CONVERSATION[-1:]) == ALONE[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_prefill_stands_where_an_assistant_s_words_would(name: str) -> None:
    expected = f"{RENDERED[name]}{BEFORE_THE_ANSWER[name]}The answer is "
    assert rendered(name, CONVERSATION, prefill="The answer is ") == expected


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - {"gemma", "mistral"}))
def test_the_baselines_read_the_turns_back_out_of_a_shipped_template(name: str) -> None:
    turns = tuple((turn.role, turn.content) for turn in CONVERSATION)
    assert turns_of(rendered(name, CONVERSATION)) == turns


@pytest.mark.parametrize("name", ["gemma", "mistral"])
def test_templates_without_a_system_role_merge_it_themselves(name: str) -> None:
    assert rendered(name, CONVERSATION) == rendered(name, merged(CONVERSATION))


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20)


@UNHURRIED
@given(st.sampled_from(SHIPPED), TEXTS, TEXTS, TEXTS)
def test_whatever_the_turns_say_stands_in_the_text_as_it_is(name: str, system: str, user: str, prefill: str) -> None:
    text = rendered(name, (Message("system", system), Message("user", user)), prefill)
    assert system in text
    assert user in text
    assert text.endswith(prefill)


def test_a_template_is_known_by_its_hash() -> None:
    template = read_template("llama-3")
    assert (template.name, template.sha256) == ("llama-3", hashlib.sha256(template.text.encode()).hexdigest())


def test_a_template_of_one_s_own_is_read_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ messages[0].content }}")
    assert read_template(str(tmp_path / "mine.jinja")).name == "mine"


def test_an_unknown_template_is_answered_with_the_shipped_ones() -> None:
    with pytest.raises(CatalogueError, match=f"no chat template 'llama-9' .*; shipped: {', '.join(SHIPPED)}; or give"):
        read_template("llama-9")


def test_a_template_that_does_not_parse_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("fine\n{% if %}")
    with pytest.raises(CatalogueError) as caught:
        read_template(str(path))
    assert str(caught.value).startswith(f"chat template {path}:2 does not parse: ")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        pytest.param(
            "{% for m in messages %}\n  {% if loop.first %}\nx\n  {% endif %}\n{% endfor %}",
            "x\n",
            id="blocks leave no blanks",
        ),
        pytest.param(
            "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}x{% endfor %}", "xx", id="loops break"
        ),
        pytest.param(
            "{{ messages[0] | tojson }}",
            '{"role": "system", "content": "Answer briefly."}',
            id="JSON is not escaped for pages",
        ),
        pytest.param("[{{ bos_token }}{{ eos_token }}]", "[]", id="the engine puts the mark of the beginning"),
        pytest.param("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024", id="no text depends on the day"),
        pytest.param("{{ add_generation_prompt }}", "True", id="an answer is asked for"),
        pytest.param("<{{ messages[1].content }}>", "<Is aspirin an NSAID?>", id="no marks are escaped"),
    ],
)
def test_templates_find_what_transformers_gives_them(template: str, text: str) -> None:
    assert written(template) == text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param(
            "{{ raise_exception('Only user and assistant roles') }}", "Only user and assistant roles", id="it says no"
        ),
        pytest.param("{{ messages.system.role }}", "has no attribute 'system'", id="it looks for what is not there"),
        pytest.param("{{ messages[0].content + 1 }}", "can only concatenate str", id="it adds what cannot be added"),
        pytest.param("{{ messages.append(1) }}", "append", id="it changes the conversation"),
        pytest.param("{{ ''.__class__.__mro__ }}", "unsafe", id="it looks out of its box"),
    ],
)
def test_a_template_that_fails_says_why(template: str, words: str) -> None:
    found = refusal(template)
    assert found.startswith("the chat template refuses the prompt: ")
    assert words in found


def test_a_template_that_leaves_a_prefill_out_is_told_of() -> None:
    assert "set `prefill: drop`" in refusal("{{ messages[0].content }}", prefill="The answer is")


@pytest.mark.parametrize("prefill", ["\n", " B", "i", "<|im_end|>"])
def test_a_prefill_is_not_mistaken_for_a_part_of_the_template(prefill: str) -> None:
    assert rendered("chatml", CONVERSATION, prefill=prefill) == RENDERED["chatml"] + prefill


def test_a_template_that_nobody_handed_in_is_named() -> None:
    with pytest.raises(TemplateRefusal, match="SHA-256 abc"):
        Texts().text_of(CONVERSATION, "abc")


def test_plain_text_is_the_turns_each_with_a_blank_line_behind() -> None:
    expected = "Answer briefly.\n\nIs aspirin an NSAID?\n\nYes.\n\nIs codeine?\n\n"
    assert plain_text(CONVERSATION) == expected
    assert Texts().text_of(CONVERSATION, PLAIN, "Codeine") == expected + "Codeine"


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        pytest.param(CONVERSATION[1:2], [("user", "Is aspirin an NSAID?")], id="none"),
        pytest.param(
            CONVERSATION,
            [("user", "Answer briefly.\n\nIs aspirin an NSAID?"), ("assistant", "Yes."), ("user", "Is codeine?")],
            id="one",
        ),
        pytest.param(
            (*CONVERSATION[:2], Message("system", "In one word.")),
            [("user", "Answer briefly.\n\nIn one word.\n\nIs aspirin an NSAID?")],
            id="two",
        ),
        pytest.param(CONVERSATION[:1], [("user", "Answer briefly.")], id="nothing else"),
        pytest.param(
            (CONVERSATION[0], CONVERSATION[2], CONVERSATION[3]),
            [("assistant", "Yes."), ("user", "Answer briefly.\n\nIs codeine?")],
            id="the assistant speaks first",
        ),
    ],
)
def test_a_merged_system_prompt_stands_at_the_head_of_the_first_user_turn(
    turns: tuple[Message, ...], expected: list[tuple[str, str]]
) -> None:
    assert [(turn.role, turn.content) for turn in merged(turns)] == expected


# What the doors make of it.

LLAMA_3 = read_template("llama-3")
TEMPLATES = {LLAMA_3.sha256: LLAMA_3.text}
WITH_LLAMA_3 = Params(max_tokens=20, template=LLAMA_3.sha256)
ASKED = Prompt(CONVERSATION, prefill="Codeine")


def test_a_chat_model_with_a_template_is_asked_with_text() -> None:
    [asked] = ask(FINE, prompt=ASKED, params=WITH_LLAMA_3, templates=TEMPLATES).asked
    assert asked.target == "/v1/completions"
    assert asked.json() == {
        "model": "m",
        "prompt": f"{RENDERED['llama-3']}Codeine",
        "max_tokens": 20,
        "temperature": 0.0,
    }


def test_a_row_that_drops_prefills_drops_them_from_text_too() -> None:
    exchange = ask(FINE, prompt=ASKED, params=WITH_LLAMA_3, templates=TEMPLATES, prefill="drop")
    assert exchange.sent["prompt"] == RENDERED["llama-3"]


def test_a_row_that_merges_the_system_prompt_does_so_before_the_prompt_is_rendered() -> None:
    sent = ask(FINE, prompt=ASKED, params=WITH_LLAMA_3, templates=TEMPLATES, system="merge").sent
    assert "<|start_header_id|>system" not in sent["prompt"]
    assert "Answer briefly.\n\nIs aspirin an NSAID?" in sent["prompt"]


def test_a_row_that_merges_the_system_prompt_does_so_in_chats() -> None:
    sent = ask(FINE, prompt=ASKED, system="merge").sent
    assert sent["messages"][0] == {"role": "user", "content": "Answer briefly.\n\nIs aspirin an NSAID?"}


@pytest.mark.parametrize("params", [Params(max_tokens=5), Params(max_tokens=5, template=PLAIN)])
def test_a_text_model_without_a_template_is_asked_with_the_turns_texts(params: Params) -> None:
    sent = ask(FINE, prompt=ASKED, params=params, door=OpenAICompletions).sent
    assert sent["prompt"] == plain_text(CONVERSATION) + "Codeine"


@pytest.mark.parametrize("template", ["{{ raise_exception('System role not supported') }}", None])
def test_a_prompt_that_cannot_be_rendered_is_a_failure_and_nothing_is_sent(template: str | None) -> None:
    templates = {"x": template} if template else {}
    exchange = ask(FINE, prompt=ASKED, params=Params(max_tokens=5, template="x"), templates=templates)
    assert (exchange.failure.kind, exchange.failure.retryable) == ("missing_template", False)
    assert exchange.asked == []
