from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baseline.test_reading import UNHURRIED
from wardround.baseline import BASELINES, answer
from wardround.baseline.rendered import turns_of
from wardround.endpoints.templates import Texts, merged, read_template
from wardround.shipped import shipped
from wardround.task import Message

CONVERSATION = (
    Message("system", "Answer with YES, NOT or MAYBE."),
    Message("user", "She smokes.\n\nDoes she smoke?"),
    Message("assistant", "YES"),
    Message("user", "He fell <3 days ago [sic]. Maybe he drinks.\n\nDoes he smoke?"),
)
WITH_OPTIONS = (
    Message("system", "Begin with 'The correct answer is', the letter, a colon and the text."),
    Message("user", "She takes warfarin. Which drug thins the blood?\nA: Aspirin\nB: The drug warfarin\nC: Insulin"),
)
TEMPLATES = sorted(path.stem for path in (shipped("servers") / "templates").glob("*.jinja"))
# These have no place for a system prompt but the first user turn.
WITHOUT_SYSTEM = ("gemma", "mistral")
every_template = pytest.mark.parametrize("name", TEMPLATES)


def rendered(name: str, turns: tuple[Message, ...], prefill: str = "") -> str:
    """The turns as the shipped template `name` renders them."""
    template = read_template(name)
    return Texts({template.sha256: template.text}).text_of(turns, template.sha256, prefill)


def pairs(turns: tuple[Message, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((turn.role, turn.content) for turn in turns)


@every_template
def test_the_turns_of_a_shipped_template_are_read_back(name: str) -> None:
    expected = merged(CONVERSATION) if name in WITHOUT_SYSTEM else CONVERSATION
    assert turns_of(rendered(name, CONVERSATION)) == pairs(expected)


@every_template
def test_the_beginning_of_an_answer_is_a_turn_that_is_not_over(name: str) -> None:
    turns = turns_of(rendered(name, CONVERSATION, "The answer is"))
    assert turns[-1] == ("assistant", "The answer is")


@every_template
@pytest.mark.parametrize("model", sorted(BASELINES))
def test_a_rendered_prompt_gets_the_answer_of_the_chat(name: str, model: str) -> None:
    for turns in (CONVERSATION, WITH_OPTIONS):
        chat = pairs(merged(turns) if name in WITHOUT_SYSTEM else turns)
        assert answer(model, turns_of(rendered(name, turns))) == answer(model, chat)


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        pytest.param(
            "<|begin_of_text|><|header_start|>user<|header_end|>\n\nHi<|eot|><|header_start|>assistant<|header_end|>",
            (("user", "Hi"),),
            id="Llama 4",
        ),
        pytest.param("<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>", (("user", "Hi"),), id="DeepSeek"),
        pytest.param(
            "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi[/INST]",
            (("system", "Be brief."), ("user", "Hi")),
            id="Mistral Small",
        ),
        pytest.param(
            "A chat between two people. USER: Hi ASSISTANT: Ho</s>USER: And? ASSISTANT:",
            (("system", "A chat between two people."), ("user", "Hi"), ("assistant", "Ho"), ("user", "And?")),
            id="Vicuna",
        ),
        pytest.param(
            "Below is a task.\n\n### Instruction:\nSum up.\n\n### Input:\nHe fell.\n\n### Response:\n",
            (("system", "Below is a task."), ("user", "Sum up.\n\nHe fell.")),
            id="Alpaca with an input",
        ),
        pytest.param(
            "<|im_start|>developer\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
            (("system", "Be brief."), ("user", "Hi")),
            id="a developer",
        ),
        pytest.param("[INST] Hi [/INST] Ho </s>", (("user", "Hi"), ("assistant", "Ho")), id="an answer that is over"),
    ],
)
def test_other_templates_marks_are_known(text: str, turns: tuple[tuple[str, str], ...]) -> None:
    assert turns_of(text) == turns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "He fell.",
        "Fever < 38 [sic], see <note>.",
        "USER: not a conversation",
        "Plan:\n### Assistant:\nDr. A\n### User:\nDr. B",
        "The user: he; the assistant: she.",
        "<|im_start|>nurse\nHi<|im_end|>",
    ],
)
def test_a_text_without_marks_is_one_user_turn(text: str) -> None:
    assert turns_of(text) == (("user", text),)


def test_the_blank_at_the_end_of_a_begun_answer_stays() -> None:
    assert turns_of("<|user|>\nHi<|end|>\n<|assistant|>\nAnswer: ")[-1] == ("assistant", "Answer: ")


@UNHURRIED
@given(
    st.lists(
        st.sampled_from(["[INST]", "[/INST]", "<<SYS>>", "<|im_start|>user\n", "<|im_end|>", "USER:", "### Response:"])
        | st.text(max_size=5)
    ).map("".join)
)
def test_any_text_is_read_into_turns_that_stand_in_it(text: str) -> None:
    for role, content in turns_of(text):
        assert role in ("system", "user", "assistant", "tool")
        assert all(part in text for part in content.split("\n\n"))
