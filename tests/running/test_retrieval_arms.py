"""What the arms show: planned into a journal, with no server."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import write_study
from wardround.errors import StudyError, WardroundError
from wardround.journal import Answered, Journal
from wardround.running.evidence import Chosen, excerpts, row_in_arm
from wardround.running.planning import Prepared, plan, prepare
from wardround.running.retrieving import retrieve_here
from wardround.study import Arm, load_study
from wardround.task import Prompt, Sample
from wardround.text import TOKEN

SEARCHED = ["bm25", "dense", "hybrid"]
HONEST = ["closed-book", "full", "truncated", *SEARCHED, "random-passages"]
EVERY = [*HONEST, "clue-oracle", "oracle"]
LONGHEALTH = [{"task": "longhealth", "limit": 6}]


@dataclass(frozen=True)
class Asked:
    answered: Answered
    prompt: Prompt

    @property
    def noted(self) -> dict[str, Any]:
        return dict(self.answered.evidence or {})

    @property
    def content(self) -> str:
        return self.prompt.messages[-1].content


def planned(
    tmp_path: Path, prepared: Sequence[Prepared] | None = None, **fields: Any
) -> dict[tuple[str, str, str], list[Asked]]:
    """What each (model, task, arm) asks."""
    study = load_study(write_study(tmp_path / "study.yaml", **fields))
    prepared = prepared or [one for choice in study.tasks for one in prepare(choice, study.profile)]
    folder = tmp_path / f"run{random.random()}"
    with Journal.create(folder) as journal:
        plan(study, journal, prepared, {}, None)
        found = {}
        for cell in journal.cells():
            rows = journal.read("SELECT request FROM asks WHERE cell = ? ORDER BY position", (cell.id,))
            prompts = [journal.request(request)[0] for (request,) in list(rows)]
            pairs = zip(journal.answers(cell.id), prompts, strict=True)
            found[cell.model, cell.task, cell.arm] = [Asked(*pair) for pair in pairs]
        return found


def one_of(task: str, limit: int = 6) -> dict[str, Any]:
    return {"task": f"longhealth:{task}", "limit": limit}


def of_arms(tmp_path: Path, task: str, arms: Sequence[Any], **fields: Any) -> dict[str, list[Asked]]:
    found = planned(tmp_path, tasks=fields.pop("tasks", [one_of(task)]), arms=list(arms), **fields)
    return {arm: asked for (_, one, arm), asked in found.items() if one == task}


def around_evidence(content: str) -> str:
    return content.split("DOCUMENTS:\n", 1)[0] + content.split("\n\nQUESTION:\n", 1)[1]


def longhealth(tmp_path: Path, task: str = "longhealth_t2") -> Prepared:
    study = load_study(write_study(tmp_path / "s.yaml", tasks=[{"task": f"longhealth:{task}", "limit": 14}]))
    (one,) = prepare(study.tasks[0], study.profile)
    return one


def test_only_the_block_of_evidence_differs_between_arms(tmp_path: Path) -> None:
    for task in ("longhealth_t1", "longhealth_t2", "longhealth_t3"):
        found = of_arms(tmp_path, task, EVERY)
        assert list(found) == EVERY
        for same in zip(*found.values(), strict=True):
            assert len({around_evidence(one.content) for one in same}) == 1
            assert len({one.prompt.messages[:-1] for one in same}) == 1
            assert len({one.answered.sample.id for one in same}) == 1


def test_closed_book_shows_no_documents(tmp_path: Path) -> None:
    for one in of_arms(tmp_path, "longhealth_t1", ["closed-book"])["closed-book"]:
        assert "DOCUMENTS:\n(none)\n" in one.content
        assert one.noted == {"evidence": "none", "hit": 0, "recall": 0, "span_recall": 0, "whole": 0}


def test_full_shows_what_the_task_itself_does(tmp_path: Path) -> None:
    own = planned(tmp_path, tasks=LONGHEALTH)
    full = planned(tmp_path, tasks=LONGHEALTH, arms=["full"])
    assert list(own) == list(full)
    for name, asked in own.items():
        assert [one.prompt for one in asked] == [one.prompt for one in full[name]]


def test_the_published_protocol_is_named_an_oracle_under_its_profiles(tmp_path: Path) -> None:
    found = planned(tmp_path, tasks=[*LONGHEALTH, "mednli"], profile="clue-tgi-2024")
    assert {arm for _, task, arm in found if task.startswith("longhealth")} == {"clue-oracle"}
    assert {arm for _, task, arm in found if task == "mednli"} == {"closed-book"}


@pytest.mark.parametrize("task", ["longhealth_t1", "longhealth_t2"])
def test_no_arm_but_the_oracles_reads_where_the_answer_is(tmp_path: Path, task: str) -> None:
    one = longhealth(tmp_path, task)
    names = [name for sample in one.samples for name in sample.inputs["answer_location"]]

    def without(sample: Sample) -> Sample:
        return replace(sample, inputs={**sample.inputs, "answer_location": {}, "packing": []})

    def elsewhere(sample: Sample) -> Sample:
        location = {document.id: {"start": [0.0], "end": [0.2]} for document in sample.documents[:2]}
        packing = list(reversed(sample.inputs["packing"]))
        return replace(sample, inputs={**sample.inputs, "answer_location": location, "packing": packing})

    assert names
    arms = [name if name in ("closed-book", "full") else {"name": name, "budget": 600} for name in HONEST]
    arms += [{"name": "clue-oracle", "budget": 600}, {"name": "oracle", "budget": 600}]
    # Small enough that even the full documents must be cut.
    models = [{"name": "baseline-lead", "base_url": "embedded", "context": 2500}]
    fields = {"tasks": [{"task": f"longhealth:{task}"}], "arms": arms, "models": models}
    before = planned(tmp_path, [one], **fields)
    for changed in (without, elsewhere):
        after = planned(tmp_path, [replace(one, samples=[changed(sample) for sample in one.samples])], **fields)
        differing = {
            name[2]
            for name, asked in before.items()
            if [each.prompt for each in asked] != [each.prompt for each in after[name]]
        }
        assert differing == {"clue-oracle", "oracle"}


def test_the_order_of_documents_does_not_depend_on_where_the_answer_is(tmp_path: Path) -> None:
    one = longhealth(tmp_path, "longhealth_t1")
    assert one.data is not None
    content = json.loads(one.data.read_text(encoding="utf-8"))
    for row in content.values():
        for question in row["questions"] if isinstance(row, dict) else ():
            question["answer_location"] = {}
    moved = tmp_path / "moved.json"
    moved.write_text(json.dumps(content), encoding="utf-8")
    after = one.task.load(moved)[: len(one.samples)]
    assert [one.rules.prompt(sample, ()) for sample in one.samples] == [
        one.rules.prompt(sample, ()) for sample in after
    ]


@pytest.mark.parametrize("task", ["longhealth_t2", "longhealth_t3"])
def test_search_sees_the_documents_of_other_patients(tmp_path: Path, task: str) -> None:
    one = longhealth(tmp_path, task)
    study = load_study(write_study(tmp_path / "s.yaml", tasks=[{"task": f"longhealth:{task}"}], arms=["bm25"]))
    with Journal.create(tmp_path / "run") as journal:
        chosen = retrieve_here(study, journal, [one])[task, "bm25"]
    for sample, each in zip(one.samples, chosen, strict=True):
        assert {passage.document for passage in each.pool} == {document.id for document in sample.documents}
    others = {passage.document for each in chosen for passage in each.passages[:10]}
    assert len({name.split("/")[0] for name in others}) > 1


@pytest.mark.parametrize("budget", [1, 150, 900, 4000])
def test_evidence_stays_within_the_budget_in_the_models_own_tokens(tmp_path: Path, budget: int) -> None:
    arms = [
        "closed-book",
        *({"name": name, "budget": budget} for name in ("truncated", "bm25", "oracle", "clue-oracle")),
    ]
    # A server that cannot be reached: its tokens are estimated, and differ from the embedded server's.
    models = ["baseline-lead", {"name": "other", "base_url": "http://127.0.0.1:9/v1"}]
    found = planned(tmp_path, tasks=[{"task": "longhealth:longhealth_t1", "limit": 3}], arms=arms, models=models)
    for name in ("truncated", "bm25", "oracle", "clue-oracle"):
        for one, bare in zip(
            found["other", "longhealth_t1", name], found["other", "longhealth_t1", "closed-book"], strict=True
        ):
            grown = -(-len(one.content.encode()) // 3) + len(bare.content.encode()) // -3
            assert one.noted["tokens"] in (grown, grown + 1)
            assert one.noted["tokens"] <= budget
    if budget == 900:
        ks = [
            sum(one.noted["k"] for one in found[model, "longhealth_t1", "bm25"]) for model in ("baseline-lead", "other")
        ]
        assert ks[0] > ks[1] > 0


def test_a_context_smaller_than_the_budget_bounds_the_evidence_and_says_so(tmp_path: Path) -> None:
    models = [{"name": "baseline-lead", "base_url": "embedded", "context": 1000}]
    asked = of_arms(tmp_path, "longhealth_t1", [{"name": "bm25", "budget": 4000}], models=models)["bm25"]
    for one in asked:
        assert one.noted["bounded"] == "context"
        tokens = sum(len(TOKEN.findall(message.content)) for message in one.prompt.messages)
        # Room is kept for 50 new tokens and for what a template adds.
        assert 500 < tokens <= 1000 - 50 - 32
        assert one.answered.cut[0].endswith("of 4000 tokens of evidence fit, counted by words and marks")


def test_k_bounds_the_passages(tmp_path: Path) -> None:
    arms = [{"name": "bm25", "k": 2}, {"name": "random-passages", "k": 3, "budget": 9000}]
    found = of_arms(tmp_path, "longhealth_t1", arms)
    assert {(one.noted["k"], one.noted["bounded"]) for one in found["bm25"]} == {(2, "k")}
    assert {one.noted["k"] for one in found["random-passages"]} == {3}


def test_passages_stand_in_the_documents_order_under_neutral_headings(tmp_path: Path) -> None:
    for one in of_arms(tmp_path, "longhealth_t2", ["bm25"])["bm25"]:
        numbers = [int(line.split()[1].strip(",")) for line in one.content.splitlines() if line.startswith("DOCUMENT ")]
        assert numbers == sorted(numbers)
        assert len(numbers) >= 2
        assert "patient_0" not in one.content
        assert "text_" not in one.content


def test_passages_that_touch_are_one_excerpt(tmp_path: Path) -> None:
    one = longhealth(tmp_path)
    study = load_study(write_study(tmp_path / "s.yaml", tasks=["longhealth"], arms=["bm25"]))
    with Journal.create(tmp_path / "run") as journal:
        pool = retrieve_here(study, journal, [one])["longhealth_t2", "bm25"][0].pool
    sample = one.samples[0]
    document = sample.documents[1]
    whole = [passage for passage in pool if passage.document == document.id]
    assert len(whole) > 2
    (shown,) = excerpts(sample.documents, reversed(whole))
    assert shown.text == document.text.strip()
    assert shown.heading == "DOCUMENT 2, EXCERPT"
    apart = excerpts(sample.documents, [whole[-1], whole[0]])
    assert [each.text for each in apart] == [whole[0].text, whole[-1].text]


def test_hits_tell_the_oracle_from_the_placebo(tmp_path: Path) -> None:
    found = of_arms(tmp_path, "longhealth_t1", EVERY, tasks=[one_of("longhealth_t1", 20)])
    hits = {arm: sum(one.noted["hit"] for one in asked) / len(asked) for arm, asked in found.items()}
    assert hits["oracle"] == hits["full"] == 1
    assert hits["closed-book"] == 0
    assert hits["random-passages"] < hits["bm25"] < 1


def test_an_answer_that_is_nowhere_has_neither_hit_nor_oracle_passages(tmp_path: Path) -> None:
    found = of_arms(tmp_path, "longhealth_t3", ["bm25", "oracle"])
    assert all("hit" not in one.noted for one in found["bm25"])
    assert all(one.noted["k"] == 0 and "DOCUMENTS:\n(none)\n" in one.content for one in found["oracle"])


def patients(path: Path, *texts: str, question: str = "Which dose?") -> Path:
    options = {f"answer_{letter}": f"{number} mg" for number, letter in enumerate("abcde", start=1)}
    location = {"text_0": {"start": [0.0], "end": [1.0]}}
    asked = {"No": 0, "question": question, **options, "correct": "5 mg", "answer_location": location}
    letters = {f"text_{number}": text for number, text in enumerate(texts)}
    content = {"p1": {"texts": letters, "questions": [asked]}}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_patient_with_one_short_letter_has_one_passage(tmp_path: Path) -> None:
    data = str(patients(tmp_path / "d.json", "The dose was 5 mg."))
    tasks = [{"task": "longhealth:longhealth_t1", "data": data, "limit": 1}]
    found = of_arms(
        tmp_path,
        "longhealth_t1",
        [{"name": name, "k": 50} for name in (*SEARCHED, "random-passages", "oracle")],
        tasks=tasks,
    )
    for (one,) in found.values():
        assert (one.noted["k"], one.noted["hit"], one.noted["bounded"]) == (1, 1, "found")
        assert "The dose was 5 mg." in one.content


def test_a_question_of_stop_words_finds_nothing_and_is_asked_all_the_same(tmp_path: Path) -> None:
    data = str(patients(tmp_path / "d.json", "The dose was 5 mg.", question="What is that of these?"))
    tasks = [{"task": "longhealth:longhealth_t1", "data": data, "limit": 1}]
    ((one,),) = of_arms(tmp_path, "longhealth_t1", ["bm25"], tasks=tasks).values()
    assert (one.noted["k"], one.noted["hit"]) == (0, 0)
    assert "DOCUMENTS:\n(none)\n" in one.content


def test_every_model_gets_the_same_passages(tmp_path: Path) -> None:
    models = ["baseline-lead", "baseline-overlap", {"name": "other", "base_url": "http://127.0.0.1:9/v1"}]
    found = planned(tmp_path, tasks=[{"task": "longhealth:longhealth_t1", "limit": 4}], arms=["bm25"], models=models)
    shown = [[one.noted["passages"] for one in asked] for asked in found.values()]
    assert shown[0] == shown[1]
    for ours, theirs in zip(shown[0], shown[2], strict=True):
        assert theirs == ours[: len(theirs)]
    assert len({json.dumps([one.noted["retrieval"] for one in asked]) for asked in found.values()}) == 1


def test_a_retrieval_is_in_the_journal_with_query_passages_scores_and_ranks(tmp_path: Path) -> None:
    tasks = [one_of("longhealth_t1", 60)]
    study = load_study(write_study(tmp_path / "s.yaml", tasks=tasks, arms=["bm25"]))
    prepared = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    with Journal.create(tmp_path / "run") as journal:
        plan(study, journal, prepared, {}, None)
        rows = list(journal.read("SELECT method, query, hits, took_ns FROM retrievals"))
        texts = {
            f"{document}#{place}": text
            for document, place, text in journal.read("SELECT document, place, text FROM passages")
        }
        plan(study, journal, prepared, {}, None)
        assert list(journal.read("SELECT method, query, hits, took_ns FROM retrievals")) == rows
    # Five orders of the same documents are one search.
    assert len(rows) == 56
    for method, query, hits, _ in rows:
        assert method.startswith("bm25[k1=1.5,b=0.75")
        assert query.endswith("?")
        scores = [score for _, score in json.loads(hits)]
        assert scores == sorted(scores, reverse=True)
        assert all(name in texts for name, _ in json.loads(hits))


def test_the_placebo_is_drawn_by_sample_and_seed(tmp_path: Path) -> None:
    def drawn(**fields: Any) -> list[list[str]]:
        arms = [{"name": "random-passages", **fields}]
        return [one.noted["passages"] for one in of_arms(tmp_path, "longhealth_t1", arms)["random-passages"]]

    assert drawn() == drawn()
    assert drawn() != drawn(seed=1)
    assert len({tuple(names) for names in drawn()}) > 1


def test_arms_are_for_the_tasks_that_have_what_they_show(tmp_path: Path) -> None:
    found = planned(
        tmp_path, tasks=["mednli", "medisumqa", *LONGHEALTH], arms=["closed-book", "full", "bm25", "bm25-shots"]
    )
    arms: dict[str, list[str]] = {}
    for _, task, arm in found:
        arms.setdefault(task, []).append(arm)
    assert arms["mednli"] == ["closed-book", "bm25-shots"]
    assert arms["medisumqa"] == ["full"]
    assert arms["longhealth_t1"] == ["closed-book", "full", "bm25"]


@pytest.mark.parametrize(
    ("tasks", "arms", "words"),
    [
        (["mednli"], ["bm25"], r"none of the study's arms \(bm25\) suits task mednli; its own is 'closed-book'"),
        (["mednli"], ["closed-book", "bm25"], "arm 'bm25' suits none of the study's tasks"),
        (LONGHEALTH, ["full", "bm25-shots"], "arm 'bm25-shots' suits none"),
        ([{"task": "mednli", "data": "own.jsonl"}], ["bm25-shots"], "give task mednli `training`"),
        (
            [{"task": "mednli", "data": "own.jsonl", "training": "own.jsonl"}],
            ["bm25-shots"],
            "is the file that is evaluated|is also evaluated",
        ),
    ],
)
def test_an_arm_without_what_it_needs_is_refused(tmp_path: Path, tasks: list[Any], arms: list[str], words: str) -> None:
    rows = [{"gold_label": "neutral", "sentence1": f"P {n}.", "sentence2": f"H {n}."} for n in range(9)]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(StudyError, match=words):
        planned(tmp_path, tasks=tasks, arms=arms)


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({"name": "x", "evidence": "full", "budget": 100}, "budget: evidence 'full' has none"),
        ({"name": "x", "evidence": "truncated", "k": 3}, "k: evidence 'truncated' shows no passages"),
        (
            {"name": "x", "evidence": "oracle-spans", "rerank": True},
            "rerank: evidence 'oracle-spans' is not searched for",
        ),
        ({"name": "bm25", "rerank": True}, "names no service"),
        ({"name": "x", "evidence": "bm52"}, "evidence"),
    ],
)
def test_an_arm_that_makes_no_sense_is_one_line(tmp_path: Path, arm: dict[str, Any], words: str) -> None:
    with pytest.raises(WardroundError, match=words) as raised:
        load_study(write_study(tmp_path / "s.yaml", arms=[arm]))
    assert "\n" not in str(raised.value)


SHOTS = ["zero-shot", "random-shots", "bm25-shots", "dense-shots"]


@pytest.mark.parametrize("task", ["mednli", "meqsum", "problem_summary"])
def test_worked_examples_are_as_many_as_fixed_ones_and_come_of_the_training_file(tmp_path: Path, task: str) -> None:
    study = load_study(write_study(tmp_path / "s.yaml", tasks=[task]))
    (one,) = prepare(study.tasks[0], study.profile)
    assert one.training is not None
    training = {sample.id for sample in one.task.load(one.training)}
    found = of_arms(tmp_path, task, SHOTS, tasks=[{"task": task, "shots": 2}])
    for arm, asked in found.items():
        for each in asked:
            shots = each.noted["shots"]
            assert len(shots) == len(set(shots)) == (0 if arm == "zero-shot" else 2)
            assert set(shots) <= training
            assert len(each.prompt.messages) == 2 + 2 * len(shots)


def mednli(path: Path, rows: Sequence[tuple[str, str, str]]) -> Path:
    keys = ("pairID", "sentence1", "sentence2")
    content = [{"gold_label": "neutral", **dict(zip(keys, row, strict=True))} for row in rows]
    path.write_text("\n".join(map(json.dumps, content)), encoding="utf-8")
    return path


def test_no_sample_is_its_own_shot_nor_is_one_of_its_premise_or_nearly_the_same(tmp_path: Path) -> None:
    premise = "Potassium rose to six on the second day after surgery"
    data = mednli(tmp_path / "test.jsonl", [("a", premise, "The patient has hyperkalaemia")])
    training = mednli(
        tmp_path / "train.jsonl",
        [
            ("like", "Potassium rose to seven", "The patient has renal failure"),
            ("far", "No cough", "Lungs are clear"),
            ("premise", premise, "He went home"),
            ("itself", premise, "The patient has hyperkalaemia"),
            ("nearly", f"{premise}.", "The patient has a hyperkalaemia"),
        ],
    )
    tasks = [{"task": "mednli", "data": str(data), "training": str(training), "shots": 2}]
    for arm in ("bm25-shots", "dense-shots", "random-shots"):
        ((one,),) = of_arms(tmp_path, "mednli", [arm], tasks=tasks).values()
        assert sorted(one.noted["shots"]) == ["far", "like"]
    ((one,),) = of_arms(tmp_path, "mednli", ["bm25-shots"], tasks=tasks).values()
    assert one.noted["shots"][-1] == "like"
    with pytest.raises(StudyError, match="2 of 3 worked examples"):
        of_arms(tmp_path, "mednli", ["bm25-shots"], tasks=[{**tasks[0], "shots": 3}])


def test_random_shots_differ_by_seed(tmp_path: Path) -> None:
    arms = [{"name": f"random-{seed}", "shots_by": "random", "seed": seed} for seed in (0, 1)]
    found = of_arms(tmp_path, "mednli", arms, tasks=[{"task": "mednli", "shots": 2}])
    assert [one.noted["shots"] for one in found["random-0"]] != [one.noted["shots"] for one in found["random-1"]]


class CountsJoinedTextsDearer:
    """Texts are worth more together than apart, as with some tokenizers."""

    name = "dear"

    def count(self, text: str) -> int:
        return len(text.split()) + len(text) // 700


@pytest.mark.parametrize("budget", [40, 200, 333, 1200])
def test_packing_holds_the_budget_whatever_the_tokenizer_and_wastes_no_passage(tmp_path: Path, budget: int) -> None:
    one = longhealth(tmp_path, "longhealth_t1")
    study = load_study(write_study(tmp_path / "s.yaml", tasks=["longhealth"], arms=["bm25"]))
    with Journal.create(tmp_path / "run") as journal:
        chosen = retrieve_here(study, journal, [one])["longhealth_t1", "bm25"]
    counter = CountsJoinedTextsDearer()
    for sample, each in zip(one.samples, chosen, strict=True):
        assert isinstance(each, Chosen)
        row = row_in_arm(one, Arm(name="x", evidence="bm25", budget=budget), sample, each, None, counter)
        assert row.evidence is not None
        show = one.rules.evidence
        assert show is not None

        def tokens(documents: Any, sample: Sample = sample, show: Any = show) -> int:
            return counter.count(show(sample, (), documents).messages[-1].content)

        k = row.evidence["k"]
        assert row.evidence["tokens"] <= budget
        if k < len(each.passages):
            assert tokens(excerpts(sample.documents, each.passages[: k + 1])) - tokens(()) > budget
