"""Study files: what they say, what they leave out, and the one line for each way to get them wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.support import ROOT
from wardround.catalogue import baselines
from wardround.errors import CatalogueError, StudyError, WrongUse
from wardround.study import Study, load_study

URL = "http://127.0.0.1:8000/v1"
SMALL = {"baselines": False, "study": "small", "models": ["baseline-majority"], "tasks": ["mednli"]}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def study_of(folder: Path, **fields: Any) -> Study:
    """The study with `fields` over the smallest one that is whole; a field that is None is left out."""
    given = {key: value for key, value in {**SMALL, **fields}.items() if value is not None}
    return load_study(write(folder / "study.yaml", yaml.safe_dump(given, allow_unicode=True)))


def complaint(folder: Path, **fields: Any) -> str:
    """The text of the error that the study with `fields` raises, which is one line."""
    with pytest.raises(WrongUse) as raised:
        study_of(folder, **fields)
    assert isinstance(raised.value, StudyError | CatalogueError)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def refusal(path: Path) -> str:
    """The text of the `StudyError` that the file `path` raises, which is one line."""
    with pytest.raises(StudyError) as raised:
        load_study(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_small_study_and_what_it_leaves_unsaid(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    assert (study.study, study.profile, study.arms) == ("small", "strict", ())
    assert [model.name for model in study.models] == ["baseline-majority"]
    assert [(choice.task, choice.label, choice.data) for choice in study.tasks] == [("mednli", None, None)]
    assert (study.concurrency, study.attempts, study.seed) == (32, 6, None)
    assert (study.deadlines.connect_s, study.deadlines.first_token_s, study.deadlines.whole_s) == (10, 120, 600)


def test_everything_a_study_can_say(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        title="Größer",
        profile="clue-tgi-2024",
        arms=["closed-book"],
        concurrency=4,
        attempts=1,
        deadlines={"whole_s": 30},
        seed=7,
        tasks=[{"task": "mednli", "label": "half", "limit": 24, "shots": 0}, "meqsum"],
    )
    assert (study.title, study.profile, study.concurrency, study.attempts, study.seed) == (
        "Größer",
        "clue-tgi-2024",
        4,
        1,
        7,
    )
    assert study.deadlines.whole_s == 30
    assert [(choice.task, choice.label, choice.limit, choice.shots) for choice in study.tasks] == [
        ("mednli", "half", 24, 0),
        ("meqsum", None, None, None),
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_study_is_whole(path: Path) -> None:
    assert load_study(path).study == path.stem


def test_paths_are_relative_to_the_study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    choice = study_of(tmp_path, tasks=[{"task": "mednli", "data": "d/test.jsonl", "training": "../dev.jsonl"}]).tasks[0]
    assert choice.data == tmp_path.resolve() / "d" / "test.jsonl"
    assert choice.training == tmp_path.resolve().parent / "dev.jsonl"


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    choice = study_of(tmp_path, tasks=[{"task": "mednli", "data": "/data/test.jsonl"}]).tasks[0]
    assert choice.data == Path("/data/test.jsonl")


def test_a_path_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    choice = study_of(tmp_path, tasks=[{"task": "mednli", "data": "~/test.jsonl"}]).tasks[0]
    assert choice.data == tmp_path.resolve() / "home" / "test.jsonl"


@pytest.mark.parametrize("task", ["mine.py", "./mine.py", {"task": "sub/../mine.py"}])
def test_a_users_task_is_relative_to_the_study_file(tmp_path: Path, task: Any) -> None:
    assert study_of(tmp_path, tasks=[task]).tasks[0].task == str(tmp_path.resolve() / "mine.py")


def test_a_name_of_a_shipped_task_is_no_path(tmp_path: Path) -> None:
    assert study_of(tmp_path, tasks=["mednli"]).tasks[0].task == "mednli"


def test_a_model_may_be_a_name_or_a_row(tmp_path: Path) -> None:
    study = study_of(tmp_path, models=["baseline-lead", {"name": "mine", "base_url": URL, "served_as": "org/m"}])
    assert [(model.name, model.served_name) for model in study.models] == [
        ("baseline-lead", "baseline-lead"),
        ("mine", "org/m"),
    ]


def test_an_inline_model_completes_its_row_of_the_catalogue(tmp_path: Path) -> None:
    model = study_of(tmp_path, models=[{"name": "baseline-lead", "base_url": URL}]).models[0]
    assert (model.base_url, model.group) == (URL, "baseline")
    assert model.title != ""


def test_one_task_may_stand_twice_under_two_labels(tmp_path: Path) -> None:
    tasks = [{"task": "mednli", "label": "a"}, {"task": "mednli", "label": "b"}]
    assert [choice.label for choice in study_of(tmp_path, tasks=tasks).tasks] == ["a", "b"]


def test_a_study_cannot_be_changed(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    with pytest.raises(ValidationError):
        study.seed = 3


def test_a_study_survives_json(tmp_path: Path) -> None:
    study = study_of(tmp_path, tasks=[{"task": "mednli", "data": "d.jsonl"}], models=[{"name": "m", "base_url": URL}])
    assert Study.model_validate_json(study.model_dump_json()) == study


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"study": None}, "study: missing"),
        ({"models": None}, "models: missing"),
        ({"tasks": None}, "tasks: missing"),
        ({"modles": []}, "modles: unknown key; did you mean 'models'?"),
        ({"concurency": 4}, "concurency: unknown key; did you mean 'concurrency'?"),
        ({"tasks": [{"task": "mednli", "limt": 3}]}, "tasks.0.limt: unknown key; did you mean 'limit'?"),
        ({"tasks": ["mednli", {"task": "meqsum", "dat": "x"}]}, "tasks.1.dat: unknown key; did you mean 'data'?"),
        ({"deadlines": {"whole": 3}}, "deadlines.whole: unknown key; did you mean 'whole_s'?"),
        (
            {"arms": ["bm25x"]},
            "arms.0: unknown arm 'bm25x'; known: closed-book, full, clue-oracle, truncated, bm25, dense, hybrid, oracle, oracle-spans, random-passages, two-step, zero-shot, random-shots, bm25-shots, dense-shots; another one is a mapping with `name`",
        ),
        (
            {"arms": ["closed-book", "orcale"]},
            "arms.1: unknown arm 'orcale'; known: closed-book, full, clue-oracle, truncated, bm25, dense, hybrid, oracle, oracle-spans, random-passages, two-step, zero-shot, random-shots, bm25-shots, dense-shots; another one is a mapping with `name`",
        ),
        ({"tasks": ["mednli", "mednli"]}, "tasks: task 'mednli' stands twice; give each its own `label`"),
        (
            {"tasks": ["mednli", {"task": "meqsum", "label": "mednli"}]},
            "tasks: task 'mednli' stands twice; give each its own `label`",
        ),
        ({"models": ["baseline-lead", "baseline-lead"]}, "models: model 'baseline-lead' stands twice"),
        (
            {"models": ["baseline-lead", {"name": "baseline-lead", "base_url": URL}]},
            "models: model 'baseline-lead' stands twice",
        ),
        (
            {"models": [{"name": "mine", "base_url": None}]},
            "models: model 'mine' has no endpoint: give `base_url` (for example http://127.0.0.1:8000/v1)",
        ),
        ({"models": [5]}, "models: 5 is neither a name nor a mapping"),
        ({"models": [None]}, "models: None is neither a name nor a mapping"),
    ],
)
def test_a_wrong_study_is_said_with_its_file_place_and_cure(tmp_path: Path, fields: dict[str, Any], end: str) -> None:
    assert complaint(tmp_path, **fields) == f"{tmp_path / 'study.yaml'}: {end}"


@pytest.mark.parametrize(
    ("fields", "begin"),
    [
        ({"study": ""}, "study: "),
        ({"study": "a b"}, "study: "),
        ({"study": "../escape"}, "study: "),
        ({"study": ".hidden"}, "study: "),
        ({"study": "line\nbreak"}, "study: "),
        ({"study": 3}, "study: "),
        ({"models": []}, "models: "),
        ({"models": "baseline-lead"}, "models: "),
        ({"tasks": []}, "tasks: "),
        ({"tasks": "mednli"}, "tasks: "),
        ({"tasks": [7]}, "tasks.0: "),
        ({"tasks": [{"label": "x"}]}, "tasks.0.task: missing"),
        ({"tasks": [{"task": "mednli", "limit": 0}]}, "tasks.0.limit: "),
        ({"tasks": [{"task": "mednli", "shots": -1}]}, "tasks.0.shots: "),
        ({"tasks": [{"task": "mednli", "data": 5}]}, "tasks.0.data: "),
        ({"arms": "closed-book"}, "arms: "),
        ({"concurrency": 0}, "concurrency: "),
        ({"concurrency": 5000}, "concurrency: "),
        ({"concurrency": "many"}, "concurrency: "),
        ({"attempts": 0}, "attempts: "),
        ({"deadlines": {"whole_s": 0}}, "deadlines.whole_s: "),
        ({"deadlines": 30}, "deadlines: "),
        ({"seed": "x"}, "seed: "),
    ],
)
def test_a_value_that_does_not_parse_is_said_with_its_file_and_place(
    tmp_path: Path, fields: dict[str, Any], begin: str
) -> None:
    assert complaint(tmp_path, **fields).startswith(f"{tmp_path / 'study.yaml'}: {begin}")


def test_an_unknown_key_like_none_is_answered_with_all_keys(tmp_path: Path) -> None:
    text = complaint(tmp_path, zzz=1)
    assert "zzz: unknown key; known keys: study, title, profile, models, tasks" in text


def test_an_unknown_model_is_answered_with_the_nearest(tmp_path: Path) -> None:
    assert "unknown model 'baseline-led'; did you mean 'baseline-lead'?" in complaint(tmp_path, models=["baseline-led"])


def test_an_unknown_model_without_endpoint_is_said_with_the_cure(tmp_path: Path) -> None:
    assert "needs `name` and `base_url`" in complaint(tmp_path, models=[{"name": "mine"}])


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"base_url": URL}, "a model needs a `name`"),
        (
            {"name": "mine", "base_url": "localhost:8000"},
            "model 'mine': base_url: must be an http:// or https:// URL",
        ),
        ({"name": "mine", "base_url": URL, "temprature": 1}, "model 'mine': temprature: unknown key"),
        ({"name": "mine", "base_url": URL, "temperature": -1}, "model 'mine': temperature: "),
    ],
)
def test_a_model_row_that_does_not_parse_is_one_line(tmp_path: Path, row: dict[str, Any], part: str) -> None:
    assert part in complaint(tmp_path, models=[row])


def test_a_missing_file_is_answered_with_the_shipped_studies(tmp_path: Path) -> None:
    text = refusal(tmp_path / "gone.yaml")
    assert text.startswith(f"there is no study file {tmp_path / 'gone.yaml'}; shipped studies: ")
    assert all(path.name in text for path in (ROOT / "studies").glob("*.yaml"))


def test_a_folder_is_no_study_file(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"study file {tmp_path} cannot be read: ")


@pytest.mark.parametrize("content", [b"study: M\xe9ni\xe8re\n", b"\xff\xfes\x00t\x00"])
def test_a_file_in_another_encoding_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    assert "codec can't decode" in refusal(path)


@pytest.mark.parametrize(
    "text",
    [
        "study: [open\n",
        "study: a\n\tmodels: b\n",
        "study: 'open\n",
        "a: b: c\n",
        "study: *nowhere\n",
        "study: !!python/object:os.system x\n",
        "study: \x07\n",
        "one: 1\n---\ntwo: 2\n",
    ],
)
def test_what_is_no_yaml_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "study.yaml", text)
    assert refusal(path).startswith(f"{path} is not valid YAML: ")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- study\n- models\n", "study\n", "3\n", "null\n"])
def test_what_is_no_mapping_holds_no_study(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "study.yaml", text)
    assert refusal(path) == f"{path} holds no study: it must be a mapping with `study`, `models` and `tasks`"


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "study.yaml", "\ufeff" + yaml.safe_dump(SMALL))
    assert load_study(path).study == "small"


def test_the_baselines_come_below_the_models_of_a_study_by_themselves(tmp_path: Path) -> None:
    study = study_of(tmp_path, models=[{"name": "mine", "base_url": URL}, "baseline-lead"], baselines=None)
    names = [model.name for model in study.models]
    assert names[:2] == ["mine", "baseline-lead"]
    assert sorted(names[1:]) == sorted(model.name for model in baselines())
    assert study_of(tmp_path, models=[], baselines=True).models == tuple(baselines())
