"""Arms that search a corpus, over real HTTP: what they show, what is left out, what the guard says, what is recorded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.retrieval.test_corpora import INVENTED, lines_of, rows
from tests.support import ROOT, wardround, write_study
from wardround.errors import DataError, GuardError, WardroundError
from wardround.journal import Journal
from wardround.retrieval import passages_of
from wardround.running.corpora import leaks_said, read_corpora
from wardround.running.evidence import some_at_random
from wardround.running.planning import Prepared, plan, prepare
from wardround.running.round import permits_of, sensitivity_of
from wardround.study import Study, load_study
from wardround.task import Document

ARMS: list[Any] = [
    "closed-book",
    *({"name": name, "corpus": "notes", "budget": 300} for name in ("bm25", "dense", "hybrid", "random-passages")),
]
CASES = [json.loads(line) for line in lines_of(ROOT / "tasks" / "samples" / "case_challenge.jsonl")]


def corpora(path: Path = INVENTED, **fields: Any) -> dict[str, Any]:
    return {"notes": {"path": str(path), "licence": "CC BY 4.0", "cut_off": "2024-12-31", **fields}}


def study_of(folder: Path, **fields: Any) -> Path:
    given = {"models": ["baseline-overlap"], "tasks": ["case_challenge"], "arms": ARMS, "corpora": corpora(), **fields}
    return write_study(folder / "s.yaml", **given)


def asked(run: Path) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """By arm: what was noted of each sample's evidence, and the last turn of its prompt."""
    with Journal.open(run) as journal:
        found = {}
        for cell in journal.cells():
            rows_of = list(journal.read("SELECT request FROM asks WHERE cell = ? ORDER BY position", (cell.id,)))
            prompts = [journal.request(request)[0].messages[-1].content for (request,) in rows_of]
            noted = [dict(one.evidence or {}) for one in journal.answers(cell.id)]
            found[cell.arm] = list(zip(noted, prompts, strict=True))
        return found


@dataclass(frozen=True)
class Done:
    run: Path
    stdout: str


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A run of all arms after the retrieval stage alone."""
    folder = tmp_path_factory.mktemp("arms")
    for command in ("retrieve", "run"):
        ended = wardround(command, study_of(folder), "--out", "run", cwd=folder)
        assert ended.returncode == 0, ended.stderr
        if command == "retrieve":
            with Journal.open(folder / "run") as journal:
                (folder / "found.json").write_text(json.dumps(found_in(journal)), encoding="utf-8")
    return Done(folder / "run", ended.stdout)


def found_in(journal: Journal) -> list[list[Any]]:
    return [list(row) for row in journal.read("SELECT key, took_ns FROM retrievals ORDER BY key")]


def prepared_of(study: Study) -> list[Prepared]:
    return [one for choice in study.tasks for one in prepare(choice, study.profile)]


def planned(folder: Path, path: Path) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """What a study would ask, as by `asked`; nobody is asked."""
    study = load_study(path)
    with Journal.create(folder / "planned") as journal:
        plan(study, journal, prepared_of(study), {}, None)
    return asked(folder / "planned")


def test_only_the_passages_before_the_case_differ_between_arms(done: Done) -> None:
    found = asked(done.run)
    assert list(found) == ["closed-book", "bm25", "dense", "hybrid", "random-passages"]
    for same in zip(*found.values(), strict=True):
        (_, bare), *others = same
        for noted, prompt in others:
            assert prompt.startswith("DOCUMENTS:\nDOCUMENT 1, EXCERPT (")
            assert prompt.endswith(f"\n\n{bare}")
            assert 0 < noted["tokens"] <= 300
    (noted, prompt), *_ = found["bm25"]
    assert noted["passages"][0] == "vitamins-1#0"
    assert "DOCUMENT 1, EXCERPT (Bleeding gums and coiled hairs):\nWhen a diet holds no fresh fruit" in prompt
    assert all("late-1#0" not in noted["passages"] for noted, _ in found["random-passages"])
    table = done.stdout.split("What was shown beside what was answered", 1)[1]
    assert {line.split()[2] for line in table.splitlines() if line.startswith("baseline-overlap")} == set(found)


def test_a_corpus_stands_in_the_manifest_and_below_the_results(done: Done) -> None:
    with Journal.open(done.run) as journal:
        kept = journal.manifest()["corpora"]["notes"]
    assert (kept["source"], kept["licence"], kept["cut_off"]) == ("corpus.jsonl", "CC BY 4.0", "2024-12-31")
    assert (kept["documents"], kept["after_cut_off"], kept["holding_cases"]) == (7, 1, 0)
    assert len(kept["sha256"]) == 64
    assert "notes (corpus.jsonl): 7 documents, 7 passages, CC BY 4.0, up to 2024-12-31" in done.stdout


def with_a_quiz(folder: Path, **fields: Any) -> Path:
    """A study whose corpus has a document with its first case in it."""
    notes = [json.loads(line) for line in lines_of(INVENTED)]
    told = {"id": "quiz", "title": "Quiz", "text": f"{CASES[0]['question']} Scurvy."}
    return study_of(folder, arms=ARMS[:2], corpora=corpora(rows(folder / "c.jsonl", *notes, told), **fields))


def test_a_document_with_a_case_in_it_is_said_and_left_out(tmp_path: Path) -> None:
    done = wardround("run", with_a_quiz(tmp_path), "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "corpus notes: documents with the text of a case: 1 (quiz); they were left out" in done.stderr
    assert "1 with a case's text left out" in done.stdout
    shown = [name for noted, _ in asked(tmp_path / "run")["bm25"] for name in noted["passages"]]
    assert not [name for name in shown if name.startswith("quiz#")]


def test_a_document_with_a_case_in_it_is_searched_if_the_study_keeps_it(tmp_path: Path) -> None:
    study = with_a_quiz(tmp_path, leaks="keep")
    noted, _ = planned(tmp_path, study)["bm25"][0]
    assert noted["passages"][0].startswith("quiz#")
    (corpus,) = read_corpora(load_study(study), prepared_of(load_study(study))).values()
    assert leaks_said("notes", corpus.provenance).endswith("they are searched all the same (leaks: keep)")


@pytest.mark.parametrize("sensitivity", ["credentialed", "phi"])
def test_a_guarded_corpus_goes_nowhere_else_though_the_cases_are_open(tmp_path: Path, sensitivity: str) -> None:
    models = [{"name": "m", "base_url": "http://0.0.0.0:9/v1"}]
    study = load_study(study_of(tmp_path, models=models, corpora=corpora(sensitivity=sensitivity)))
    with pytest.raises(GuardError, match=f"{sensitivity} data does not go to model 'm'"):
        permits_of(study, [], "open", attested=False)


def test_an_open_corpus_leaves_the_guard_as_it_is(tmp_path: Path) -> None:
    models = [{"name": "m", "base_url": "http://0.0.0.0:9/v1"}]
    study = load_study(study_of(tmp_path, models=models))
    assert {one.trust for one in permits_of(study, [], None, attested=False)} == {"not guarded", "embedded"}


def test_a_run_searches_nothing_that_the_stage_alone_has_found(done: Done) -> None:
    with Journal.open(done.run) as journal:
        found = found_in(journal)
    assert len(found) == 3 * len(CASES)
    assert found == json.loads((done.run.parent / "found.json").read_text(encoding="utf-8"))


def test_another_corpus_under_the_same_name_is_searched_anew(tmp_path: Path) -> None:
    path = rows(tmp_path / "c.jsonl", *map(json.loads, lines_of(INVENTED)))
    study = study_of(tmp_path, arms=ARMS[:2], corpora=corpora(path))
    assert planned(tmp_path, study)["bm25"][0][0]["passages"][0] == "vitamins-1#0"
    rows(path, {"id": "other", "text": "Ascorbic acid and gums."})
    shown = [noted["passages"] for noted, _ in planned(tmp_path, study)["bm25"]]
    assert shown[0] == ["other#0"]
    assert {name for names in shown for name in names} == {"other#0"}


def test_the_placebo_is_drawn_by_the_seeds_alone_and_repeats_nothing() -> None:
    pool = passages_of(Document("d", "\n".join(f"Line {number} of the notes." for number in range(400))), length=8)
    drawn = some_at_random(pool, 64, 1, "a")
    assert drawn == some_at_random(pool, 64, 1, "a") != some_at_random(pool, 64, 2, "a")
    assert len(set(drawn)) == 64
    assert {passage for seed in range(60) for passage in some_at_random(pool, 64, seed)} == set(pool)
    assert set(some_at_random(pool[:5], 64, 1)) == set(pool[:5])


def test_a_corpus_lies_beside_its_study(tmp_path: Path) -> None:
    study = load_study(study_of(tmp_path, corpora=corpora(Path("notes") / "c.jsonl")))
    assert study.corpora["notes"].path == tmp_path / "notes" / "c.jsonl"


def test_a_reranker_orders_the_passages_of_a_corpus(tmp_path: Path) -> None:
    arm = {"name": "reranked", "evidence": "bm25", "rerank": True, "corpus": "notes", "budget": 300}
    rerank = {"base_url": "embedded", "model": "hashed-bag-of-words-512"}
    study = study_of(tmp_path, arms=[ARMS[1], arm], retrieval={"rerank": rerank})
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = asked(tmp_path / "run")
    plain, reranked = ([noted for noted, _ in found[name]] for name in ("bm25", "reranked"))
    assert [one["of"] for one in plain] == [one["of"] for one in reranked]
    assert [one["passages"] for one in plain] != [one["passages"] for one in reranked]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"arms": [{"name": "bm25", "corpus": "textbooks"}]}, "searches the corpus 'textbooks'; the study's `corpora`"),
        ({"arms": [{"name": "full", "corpus": "notes"}]}, "corpus: evidence 'full' shows nothing of one"),
        ({"corpora": {"notes": {"path": "c.jsonl", "cut_off": "2024-12-31"}}}, "corpora.notes.licence"),
        ({"corpora": {"notes": {"path": "c.jsonl", "licence": "MIT"}}}, "corpora.notes.cut_off"),
        ({"corpora": corpora(licenses="MIT")}, "did you mean 'licence'?"),
        ({"corpora": corpora(Path("nowhere.jsonl"))}, "there is no corpus"),
        ({"corpora": corpora(INVENTED, exclude=["none"])}, "has no document 'none', which the study excludes"),
        ({"tasks": ["mednli"], "arms": [ARMS[1]]}, "none of the study's arms (bm25) suits task mednli"),
        ({"tasks": ["longhealth"], "arms": [ARMS[1]]}, "none of the study's arms (bm25) suits task longhealth_t1"),
    ],
)
def test_a_wrong_study_is_one_line(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(WardroundError) as raised:
        planned(tmp_path, study_of(tmp_path, **fields))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_corpus_of_nothing_but_cases_is_refused(tmp_path: Path) -> None:
    path = rows(tmp_path / "c.jsonl", {"id": "quiz", "text": CASES[0]["question"]})
    with pytest.raises(DataError, match=r"corpus notes: every document of .* holds a case of the study"):
        planned(tmp_path, study_of(tmp_path, corpora=corpora(path)))


def test_a_journal_stays_as_sensitive_as_what_it_ever_asked(tmp_path: Path) -> None:
    arms = ["closed-book", {"name": "bm25", "corpus": "notes", "budget": 300}]
    for given, of in ((arms, corpora(sensitivity="phi")), (["closed-book"], {})):
        ended = wardround("run", study_of(tmp_path, arms=given, corpora=of), "--out", "run", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        with Journal.open(tmp_path / "run") as journal:
            assert sensitivity_of(journal) == "phi"


def test_a_load_test_sends_a_corpus_no_further_than_a_run_does(tmp_path: Path) -> None:
    outside = {"name": "m", "base_url": "http://0.0.0.0:9/v1"}
    arms = [{"name": "bm25", "corpus": "notes", "budget": 300}]
    study = study_of(tmp_path, models=[outside], arms=arms, corpora=corpora(sensitivity="phi"))
    options = ["--rate", "1", "--duration", "1", "--out", "load"]
    ended = wardround("load", "m", "--study", study, *options, cwd=tmp_path)
    assert ended.returncode == 1
    assert "phi data does not go to model 'm'" in ended.stderr


GOLD_TASK = '''
"""Questions whose answer stands in a corpus (invented)."""
import json
from wardround import Message, Metric, Prompt, Sample, Task

def load(path):
    rows = map(json.loads, path.read_text().splitlines())
    return [Sample(row["id"], {"question": row["question"]}, "x", None, ()) for row in rows]

def evidence(sample, shots, documents):
    texts = [document.text for document in documents]
    return Prompt((Message("user", "\\n".join([*texts, sample.inputs["question"]])),))

task = Task(
    name="gums", title="Gums", level=None, sensitivity="open", load=load, samples="none", shots=0, max_tokens=30,
    prompt=lambda sample, shots: evidence(sample, shots, ()), evidence=evidence,
    score=lambda answer, sample: {"named": 1.0, "parsed": 1.0}, metrics=(Metric("named", "proportion"),),
    query=lambda sample: sample.inputs["question"], gold=lambda sample: {"c": [(0, 6)], "missed": [(0, 4)]},
)
'''


def test_gold_spans_of_a_corpus_are_found_or_missed(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(GOLD_TASK, encoding="utf-8")
    rows(tmp_path / "d.jsonl", {"id": "1", "question": "bleeding gums"})
    path = rows(tmp_path / "c.jsonl", {"id": "c", "text": "Scurvy: bleeding gums."}, {"id": "missed", "text": "Leek."})
    arms = [{"name": "bm25", "corpus": "notes"}]
    tasks = [{"task": "./t.py", "data": "d.jsonl"}]
    ((noted, _),) = planned(tmp_path, study_of(tmp_path, tasks=tasks, arms=arms, corpora=corpora(path)))["bm25"]
    assert (noted["hit"], noted["recall"], noted["third"]) == (1, 0.5, 1)
    assert noted["whole"] == pytest.approx(0.6)


def test_texts_without_a_date_are_said_to_be_unchecked(tmp_path: Path) -> None:
    path = rows(tmp_path / "c.jsonl", {"id": "1", "text": "lead", "date": "2024"}, {"id": "2", "text": "zinc"})
    study = study_of(tmp_path, arms=[{"name": "bm25", "corpus": "notes"}], corpora=corpora(path))
    ended = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert "; 1 without a date, not checked" in ended.stdout
