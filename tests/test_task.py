"""Finding and loading task files, shipped and users' own; the rules of their profiles."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from wardround.errors import TaskError
from wardround.shipped import shipped
from wardround.task import Message, Metric, Prompt, Rules, Sample, load_task, task_names

USERS_TASK = '''
"""A task of a user's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from wardround import Message, Metric, Prompt, Sample, Task


@dataclass(frozen=True)
class Case:
    question: str
    options: list[str] = field(default_factory=list)
    kinds: ClassVar[int] = 2


def load(path: Path) -> list[Sample]:
    case = Case("Is it cold?", ["yes", "no"])
    return [Sample("1", {"question": case.question, "options": case.options}, "yes")]


def prompt(sample, shots):
    return Prompt((Message("user", sample.inputs["question"]),))


def score(answer, sample):
    return {"accuracy": float(answer == sample.reference), "parsed": 1.0}


task = Task(
    name="mine", title="Mine", level=None, sensitivity="phi", load=load, prompt=prompt, score=score,
    metrics=(Metric("accuracy", "proportion"),), shots=0, max_tokens=5, samples=Path(__file__),
)
'''


def write_task(path: Path, source: str = USERS_TASK) -> Path:
    path.write_text(source, encoding="utf-8")
    return path


def complaint(reference: str | Path) -> str:
    """The text of the `TaskError` that loading `reference` raises, which is one line."""
    with pytest.raises(TaskError) as raised:
        load_task(reference)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def rules(**fields: Any) -> Rules:
    return replace(load_task("mednli").rules("strict"), **fields)


def other_prompt(sample: Sample, shots: object) -> Prompt:
    return Prompt((Message("user", "another question"),))


def other_score(answer: str, sample: Sample) -> dict[str, float | None]:
    return {"other": None}


def test_the_shipped_tasks_are_there() -> None:
    assert {"mednli", "meqsum"} <= set(task_names())
    assert task_names() == sorted(task_names())


@pytest.mark.parametrize("folder", ["tasks", "servers", "studies"])
def test_in_a_checkout_shipped_folders_lie_beside_the_client(folder: str) -> None:
    assert shipped(folder) == ROOT / folder
    assert shipped(folder).is_dir()


@pytest.mark.parametrize("name", ["mednli", "meqsum"])
def test_a_shipped_task_is_loaded_by_name(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert task.path == ROOT / "tasks" / f"{name}.py"


def test_a_shipped_task_is_found_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_task("mednli").name == "mednli"


def test_a_shipped_task_is_loaded_by_path_too() -> None:
    assert load_task(ROOT / "tasks" / "mednli.py") == load_task(str(ROOT / "tasks" / "mednli.py"))
    assert load_task(ROOT / "tasks" / "mednli.py").load is load_task("mednli").load


def test_a_users_task_is_loaded_by_path(tmp_path: Path) -> None:
    path = write_task(tmp_path / "mine.py")
    task = load_task(str(path))
    assert (task.name, task.sensitivity, task.path) == ("mine", "phi", path)


@pytest.mark.parametrize("reference", ["mine.py", "./mine.py", "../here/mine.py"])
def test_a_users_path_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    write_task(folder / "mine.py")
    monkeypatch.chdir(folder)
    assert load_task(reference).path == folder / "mine.py"


def test_a_users_path_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task(tmp_path / "mine.py")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_task("~/mine.py").path == tmp_path / "mine.py"


def test_a_dataclass_in_a_users_task_works(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path / "mine.py"))
    assert task.load(tmp_path)[0].inputs == {"question": "Is it cold?", "options": ["yes", "no"]}


def test_an_object_of_a_users_dataclass_can_be_pickled(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path / "mine.py"))
    case = sys.modules[task.load.__module__].Case("Is it warm?")
    assert pickle.loads(pickle.dumps(case)) == case


def test_a_users_file_may_have_the_name_of_a_shipped_task(tmp_path: Path) -> None:
    mine = load_task(write_task(tmp_path / "mednli.py"))
    assert mine.name == "mine"
    assert load_task("mednli").name == "mednli"


def test_two_files_of_one_name_are_two_tasks(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_task(tmp_path / folder / "mine.py", USERS_TASK.replace('name="mine"', f'name="{folder}"'))
    assert [load_task(tmp_path / folder / "mine.py").name for folder in ("a", "b")] == ["a", "b"]


def test_loading_twice_gives_the_same_functions(tmp_path: Path) -> None:
    path = write_task(tmp_path / "mine.py")
    assert load_task(path).load is load_task(path).load


def test_a_users_task_needs_no_checkout_on_the_path(tmp_path: Path) -> None:
    write_task(tmp_path / "mine.py")
    code = "from wardround import load_task; print(load_task('./mine.py').name)"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "mine\n"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert complaint("medlni").startswith("unknown task 'medlni'; did you mean 'mednli'?")


def test_a_name_like_none_is_answered_with_all_of_them() -> None:
    text = complaint("radiology")
    assert text.startswith("unknown task 'radiology'; shipped tasks: ")
    assert all(name in text for name in task_names())
    assert "./mine.py" in text


def test_an_empty_name_is_unknown() -> None:
    assert complaint("").startswith("unknown task ''")


@pytest.mark.parametrize("reference", ["gone.py", "./gone.py", "/nowhere/gone.py", "folder/gone"])
def test_a_path_to_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert complaint(reference) == f"there is no task file {(tmp_path / reference).resolve()}"


def test_a_folder_is_no_task_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").mkdir()
    assert complaint(tmp_path / "mine.py").startswith("there is no task file")


@pytest.mark.parametrize("source", ["", "x = 1\n", "task = None\n", "task = 'mednli'\n", "def task(): ...\n"])
def test_a_file_without_a_task_is_said(tmp_path: Path, source: str) -> None:
    path = write_task(tmp_path / "mine.py", source)
    assert complaint(path).startswith(f"{path} defines no `task = Task(…)`")


@pytest.mark.parametrize(
    ("source", "end"),
    [
        ("raise ValueError('no data here')\n", "fails on import: ValueError: no data here"),
        ("import no_such_library\n", "fails on import: ModuleNotFoundError: No module named 'no_such_library'"),
        ("1 / 0\n", "fails on import: ZeroDivisionError: division by zero"),
        ("def broken(:\n", "fails on import: SyntaxError: invalid syntax (mine.py, line 1)"),
        ("from wardround import Task\ntask = Task(name='x')\n", "'samples'"),
    ],
)
def test_a_file_that_fails_on_import_is_said_with_its_error(tmp_path: Path, source: str, end: str) -> None:
    path = write_task(tmp_path / "mine.py", source)
    text = complaint(path)
    assert text.startswith(f"task file {path} fails on import: ")
    assert text.endswith(end)


def test_a_file_that_failed_can_be_loaded_once_it_is_mended(tmp_path: Path) -> None:
    path = write_task(tmp_path / "mine.py", "raise ValueError('not yet')\n")
    assert "not yet" in complaint(path)
    write_task(path, USERS_TASK)
    assert load_task(path).name == "mine"


def test_a_file_that_failed_leaves_no_module_behind(tmp_path: Path) -> None:
    before = set(sys.modules)
    complaint(write_task(tmp_path / "mine.py", "raise ValueError('no')\n"))
    assert set(sys.modules) == before


def test_a_file_of_another_kind_is_no_task(tmp_path: Path) -> None:
    path = write_task(tmp_path / "mine.txt", USERS_TASK)
    assert complaint(path).startswith(f"{path} is not a Python file")


def test_the_profile_strict_is_the_task_itself() -> None:
    task = load_task("mednli")
    strict = task.rules("strict")
    assert (strict.prompt, strict.score, strict.batch) == (task.prompt, task.score, task.batch)
    assert (strict.metrics, strict.shots, strict.max_tokens) == (task.metrics, task.shots, task.max_tokens)
    assert not strict.first_counted_twice


def test_other_profiles_are_the_tasks_own() -> None:
    task = load_task("mednli")
    rules, own = task.rules("clue-tgi-2024"), task.profiles["clue-tgi-2024"]
    assert (rules.prompt, rules.score, rules.metrics) == (own.prompt, own.score, own.metrics)
    assert (rules.shots, rules.max_tokens, rules.first_counted_twice) == (own.shots, own.max_tokens, True)


def test_an_unknown_profile_is_said_with_those_there_are() -> None:
    task = load_task("mednli")
    with pytest.raises(TaskError) as raised:
        task.rules("clue")
    known = ", ".join(["strict", *task.profiles])
    assert str(raised.value) == f"task mednli has no profile 'clue'; it has: {known}"


def test_a_users_task_has_the_profile_strict_alone(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path / "mine.py"))
    with pytest.raises(TaskError, match=r"task mine has no profile 'clue-tgi-2024'; it has: strict$"):
        task.rules("clue-tgi-2024")


def test_rules_ask_like_themselves() -> None:
    assert rules().asked_like(rules()) == []


@pytest.mark.parametrize(
    ("fields", "differing"),
    [
        ({"prompt": other_prompt}, ["prompt"]),
        ({"shots": 5}, ["shots"]),
        ({"max_tokens": 512}, ["max_tokens"]),
        ({"stop": ("\n",)}, ["stop"]),
        ({"shots_from_head": True}, ["shots_from_head"]),
        ({"shots": 0, "max_tokens": 9, "prompt": other_prompt}, ["prompt", "shots", "max_tokens"]),
    ],
)
def test_settings_that_ask_differently_are_named(fields: dict[str, Any], differing: list[str]) -> None:
    assert rules().asked_like(rules(**fields)) == differing
    assert rules(**fields).asked_like(rules()) == differing


@pytest.mark.parametrize(
    "fields",
    [{"score": other_score}, {"metrics": (Metric("other"),)}, {"batch": None}, {"first_counted_twice": True}],
)
def test_settings_that_only_score_differently_are_not_named(fields: dict[str, Any]) -> None:
    assert rules().asked_like(rules(**fields)) == []


def test_the_profile_of_the_paper_asks_mednli_differently() -> None:
    task = load_task("mednli")
    assert task.rules("clue-tgi-2024").asked_like(task.rules("strict")) == [
        "prompt",
        "stop",
        "shots_from_head",
        "temperature",
    ]


@pytest.mark.parametrize("name", ["mednli", "meqsum"])
def test_rules_loaded_anew_ask_like_before(name: str) -> None:
    for profile in ("strict", "clue-tgi-2024"):
        assert load_task(name).rules(profile).asked_like(load_task(name).rules(profile)) == []
