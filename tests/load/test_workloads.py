from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.support import write_study
from wardround.endpoints.replies import Params
from wardround.errors import DataError, WrongUse
from wardround.journal import Journal
from wardround.load.workloads import Asked, Lengths, mixed, of_file, of_journal, synthetic
from wardround.running.planning import plan, prepare
from wardround.study import load_study
from wardround.task import Message, Prompt


def asked(task: str, number: int) -> list[Asked]:
    return [Asked(task, Prompt((Message("user", f"{task} {n}"),)), Params(9)) for n in range(number)]


def test_a_tasks_prompts_are_those_of_a_run_each_once(tmp_path: Path) -> None:
    arms = ["closed-book", {"name": "again", "evidence": "own"}]
    study = load_study(
        write_study(tmp_path / "study.yaml", tasks=["mednli", {"task": "meqsum", "shots": 1}], arms=arms)
    )
    with Journal.create(tmp_path / "run") as journal:
        plan(study, journal, [one for choice in study.tasks for one in prepare(choice, "strict")], {}, {})
        found = of_journal(journal, "baseline-majority")
        assert list(found) == ["mednli", "meqsum"]
        assert [len(one) for one in found.values()] == [len({one.prompt for one in part}) for part in found.values()]
        assert {len(one.prompt.messages) for one in found["meqsum"]} == {4}
        assert list(of_journal(journal, "baseline-majority", ["meqsum"])) == ["meqsum"]
        assert of_journal(journal, "nobody") == {}


def test_one_task_is_sent_in_a_seeded_order_each_prompt_once_before_any_again() -> None:
    workload = mixed({"a": asked("a", 20)}, {"a": 1}, seed=3, length=1000)
    assert sorted(workload.order) == list(range(20))
    assert workload.order == mixed({"a": asked("a", 20)}, {"a": 1}, seed=3, length=1000).order
    assert workload.order != mixed({"a": asked("a", 20)}, {"a": 1}, seed=4, length=1000).order
    assert (workload.repeats(20), workload.repeats(25)) == (0, 5)


def test_a_mix_has_its_shares_and_repeats_no_prompt_before_all_of_its_task_were_sent() -> None:
    workload = mixed({"a": asked("a", 500), "b": asked("b", 900)}, {"a": 1, "b": 3}, seed=1, length=1000)
    sent = [workload.asked[place] for place in workload.order]
    counts = Counter(one.workload for one in sent)
    assert counts["b"] == pytest.approx(750, abs=50)
    assert len({one.prompt for one in sent}) == 1000
    assert workload.title == "a 25 %, b 75 %"


def test_a_task_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(WrongUse, match="no prompts for c; there are: a, b"):
        mixed({"a": asked("a", 1), "b": asked("b", 1)}, {"c": 1}, seed=0, length=9)


@pytest.mark.parametrize("variation", [0.0, 0.5])
def test_lengths_have_their_mean_and_spread(variation: float) -> None:
    chance = random.Random(2)
    drawn = [Lengths(400, variation).drawn(chance) for _ in range(20_000)]
    mean = sum(drawn) / len(drawn)
    assert mean == pytest.approx(400, rel=0.02)
    assert (sum((one - mean) ** 2 for one in drawn) / len(drawn)) ** 0.5 == pytest.approx(
        400 * variation, rel=0.05, abs=1
    )


def test_made_up_prompts_share_the_beginning_that_they_should() -> None:
    workload = synthetic(Lengths(100), Lengths(20), shared_prefix=0.5, number=30, seed=1)
    words = [one.prompt.messages[0].content.split() for one in workload.asked]
    assert {len(one) for one in words} == {100}
    assert len({tuple(one[:50]) for one in words}) == 1
    assert len({tuple(one[50:]) for one in words}) == 30
    assert {one.params.max_tokens for one in workload.asked} == {20}


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(WrongUse, match="from 0 to 1"):
        synthetic(Lengths(9), Lengths(9), shared_prefix=1.5, number=1, seed=0)


def test_a_file_of_prompts_with_times(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt": "Hi", "at_s": 1.5}\n\n{"messages": [{"role": "user", "content": "Ho"}], "max_tokens": 7, "at_s": 3}\n'
    )
    workload, times = of_file(path, max_tokens=64)
    assert [one.prompt.messages[0].content for one in workload.asked] == ["Hi", "Ho"]
    assert [one.params.max_tokens for one in workload.asked] == [64, 7]
    assert times == [1.5, 3.0]


@pytest.mark.parametrize(
    "line",
    ["{", "5", '{"text": "x"}', '{"prompt": 5}', '{"messages": []}', '{"messages": [{"role": "king", "content": "x"}]}',
     '{"messages": [{"role": "user", "content": null}]}', '{"prompt": "x", "max_tokens": 0}', '{"prompt": "x", "at_s": "y"}'],
)  # fmt: skip
def test_a_line_that_is_no_prompt_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"prompts.jsonl: line 2 is no prompt"):
        of_file(path, 9)


@pytest.mark.parametrize(
    ("content", "words"), [("", "holds no prompts"), ('{"prompt": "x", "at_s": 1}\n{"prompt": "y"}', "1 of 2 lines")]
)
def test_a_file_without_prompts_or_with_some_times_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        of_file(path, 9)
