from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import write_study
from wardround.endpoints import Params
from wardround.errors import StudyError, WardroundError
from wardround.journal import Cell, Journal
from wardround.running.planning import plan, prepare, with_choices
from wardround.study import load_study
from wardround.task import Message, Prompt

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def planned(tmp_path: Path, **fields: Any) -> list[tuple[Cell, Prompt, Params]]:
    """The cells of a study, each with the prompt and parameters of its first request."""
    study = load_study(write_study(tmp_path / "study.yaml", **fields))
    prepared = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    with Journal.create(tmp_path / "run") as journal:
        plan(study, journal, prepared, {}, {})
        cells = {cell.id: cell for cell in journal.cells()}
        first: dict[int, int] = {}
        for request, _, of in journal.pending():
            for cell in of:
                first.setdefault(cell, request)
        return [(cell, *journal.request(first[number])) for number, cell in cells.items()]


def test_an_arm_that_chooses_is_only_for_tasks_with_choices(tmp_path: Path) -> None:
    arms = ["closed-book", {"name": "likeliest", "choice": "logprobs"}]
    found = planned(tmp_path, tasks=["mednli", "meqsum"], arms=arms)
    assert [(cell.task, cell.arm, params.choose) for cell, _, params in found] == [
        ("mednli", "closed-book", "parse"),
        ("mednli", "likeliest", "logprobs"),
        ("meqsum", "closed-book", "parse"),
    ]


def test_a_task_without_choices_needs_another_arm(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="task meqsum has no choices"):
        planned(tmp_path, tasks=["meqsum"], arms=[{"name": "likeliest", "choice": "logprobs"}])


def test_choosing_by_likelihood_begins_the_answer_where_the_choice_comes_next(tmp_path: Path) -> None:
    arms = [{"name": "likeliest", "choice": "logprobs"}]
    ((_, prompt, _),) = planned(tmp_path, tasks=["case_challenge"], arms=arms)
    assert prompt.prefill == "The correct answer is"
    assert prompt.choices[:2] == ("A", "B")
    assert "nothing else" not in prompt.messages[-1].content


def test_a_model_that_cannot_continue_a_turn_is_told_the_choices_instead(tmp_path: Path) -> None:
    models = [{"name": "hosted", "base_url": "http://127.0.0.1:9/v1", "prefill": "drop"}]
    arms = [{"name": "likeliest", "choice": "logprobs"}]
    ((_, prompt, _),) = planned(tmp_path, models=models, tasks=["case_challenge"], arms=arms)
    assert prompt.prefill == ""
    assert prompt.messages[-1].content.endswith(f"nothing else: {', '.join(prompt.choices)}")


def test_the_two_kinds_of_model_stand_in_one_cell_row_each(tmp_path: Path) -> None:
    models = [
        {"name": "hosted", "base_url": "http://127.0.0.1:9/v1", "prefill": "drop"},
        {"name": "local", "base_url": "http://127.0.0.1:9/v1"},
    ]
    found = planned(tmp_path, models=models, tasks=["case_challenge"], arms=[{"name": "x", "choice": "logprobs"}])
    assert [(cell.model, prompt.prefill) for cell, prompt, _ in found] == [
        ("hosted", ""),
        ("local", "The correct answer is"),
    ]


def test_structured_answers_get_the_choices_in_the_prompt(tmp_path: Path) -> None:
    ((_, prompt, params),) = planned(tmp_path, tasks=["mednli"], arms=[{"name": "kept", "choice": "structured"}])
    assert params.choose == "structured"
    assert prompt.choices == ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")
    assert prompt.messages[-1].content.endswith("nothing else: ENTAILMENT, NEUTRAL, CONTRADICTION")


def test_the_choices_never_tell_which_one_is_right() -> None:
    prompt = Prompt((Message("user", "Which?"),))
    told = with_choices(prompt, ("A", "B"), "")
    assert told.messages[0].content == "Which?\n\nNow answer with one of these and nothing else: A, B"


def test_an_arm_swaps_the_chat_template_and_another_asks_without(tmp_path: Path) -> None:
    (tmp_path / "chatml.jinja").write_text(CHATML)
    arms = ["closed-book", {"name": "chatml", "template": "chatml.jinja"}, {"name": "joined", "template": "plain"}]
    found = planned(tmp_path, arms=arms)
    templates = {cell.arm: params.template for cell, _, params in found}
    assert templates["closed-book"] is None
    assert templates["joined"] == "plain"
    assert len(templates["chatml"] or "") == 64


def test_another_text_of_the_template_is_another_request(tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    arms = [{"name": "mine", "template": "mine.jinja"}]
    template.write_text(CHATML)
    ((_, _, before),) = planned(tmp_path, arms=arms)
    template.write_text(CHATML + " ")
    ((_, _, after),) = planned(tmp_path, arms=arms)
    assert before.template != after.template


def test_a_models_own_template_holds_in_every_arm_that_names_none(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text(CHATML)
    models = [
        {"name": "m", "base_url": "http://127.0.0.1:9/v1", "chat_template": "./mine.jinja", "stop": ["<|im_end|>"]}
    ]
    ((_, _, params),) = planned(tmp_path, models=models)
    assert len(params.template or "") == 64
    assert params.stop == ("<|im_end|>",)


def test_protocols_that_send_text_join_the_turns_where_no_template_is_named(tmp_path: Path) -> None:
    models = [{"name": "base", "base_url": "http://127.0.0.1:9/v1", "protocol": "openai-completions"}]
    ((_, _, params),) = planned(tmp_path, models=models)
    assert params.template == "plain"


def test_a_template_that_is_not_there_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match="no chat template 'no-such'"):
        planned(tmp_path, arms=[{"name": "x", "template": "no-such"}])
