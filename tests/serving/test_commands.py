"""`wardround models`, `wardround models fit` and `wardround compose` as commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import ROOT, wardround
from wardround.catalogue import catalogue
from wardround.serving import served_models


def cells(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


def rows_of(table: str) -> dict[str, list[str]]:
    return {cells(line)[0]: cells(line) for line in table.splitlines()[2:]}


def test_models_are_listed_with_what_they_need(tmp_path: Path) -> None:
    listed = wardround("models", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    rows = rows_of(listed.stdout)
    assert rows.keys() == catalogue().keys()
    assert rows["llama-3-8b-instruct"][1:9] == [
        "general", "8.03", "llama3", "yes", "8,192", "1 × 48", "vllm", "http://127.0.0.1:8619/v1",
    ]  # fmt: skip
    assert rows["baseline-lead"][1:9] == ["baseline", "–", "–", "–", "131,072", "–", "–", "embedded"]


def test_what_is_not_known_is_no_guess(tmp_path: Path) -> None:
    rows = rows_of(wardround("models", cwd=tmp_path).stdout)
    assert rows["meditron3-8b"][3:5] == ["?", "?"]


def test_fit_says_how_many_cards_and_how_much_of_each(tmp_path: Path) -> None:
    done = wardround("models", "fit", "--gpu", "80", "--gpus", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    assert list(rows) == [one.name for one in served_models()]
    assert rows["llama-3-8b-instruct"][4:] == ["1 × 27.0", "1 × 20.0"]
    assert rows["mixtral-8x7b-instruct-v0.1"][4:] == ["2 × 58.2", "2 × 38.0"]
    assert rows["llama-3-70b-instruct"][4:] == ["–", "2 × 54.1"]
    assert rows["mixtral-8x22b-instruct-v0.1"][4:] == ["–", "–"]


def test_fit_takes_a_shorter_context_and_fewer_sequences(tmp_path: Path) -> None:
    done = wardround("models", "fit", "--gpu", "24", "--context", "4096", "--concurrent", "1", cwd=tmp_path)
    rows = rows_of(done.stdout)
    assert rows["llama-3-8b-instruct"][3:5] == ["4,096", "1 × 18.9"]
    # A model is never given more than it is served with.
    assert rows["meditron-7b"][3] == "2,048"


@pytest.mark.parametrize("arguments", [(), ("--gpu", "80", "--gpus", "0")])
def test_cards_that_are_none_are_wrong_use(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert wardround("models", "fit", *arguments, cwd=tmp_path).returncode == 2


def test_compose_prints_what_is_committed() -> None:
    done = wardround("compose", cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, (ROOT / "compose.yaml").read_text(encoding="utf-8"))


def test_check_is_content_with_the_committed_file() -> None:
    done = wardround("compose", "--check", cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_was_written_is_in_step_until_it_is_changed(tmp_path: Path) -> None:
    options = ("--engine", "tgi", "--gpu", "141", "--fp8", "llama-3-70b-instruct", "--out", "served.yaml")
    assert wardround("compose", *options, cwd=tmp_path).returncode == 0
    written = tmp_path / "served.yaml"
    head = written.read_text(encoding="utf-8").splitlines()[1]
    assert head == "#     wardround compose --engine tgi --gpu 141 --fp8 llama-3-70b-instruct"
    assert wardround("compose", *options, "--check", cwd=tmp_path).returncode == 0
    written.write_text(written.read_text(encoding="utf-8") + "#\n", encoding="utf-8")
    done = wardround("compose", *options, "--check", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "wardround: served.yaml is not in step with the catalogue; write it anew: the same options with --out served.yaml\n"
    )


def test_check_of_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = wardround("compose", "--check", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("wardround: compose.yaml cannot be read: ")
    assert done.stderr.count("\n") == 1


def test_models_that_do_not_fit_are_named_beside_the_file(tmp_path: Path) -> None:
    done = wardround("compose", "--gpu", "24", "--gpus", "1", "--concurrent", "1", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("wardround: 1 × 24 GB do not hold, and so left out: ")
    assert "llama-3-70b-instruct" in done.stderr
    assert "\n  llama-3-8b-instruct:\n" in done.stdout
    assert "\n  llama-3-70b-instruct:\n" not in done.stdout


def test_an_unknown_engine_is_wrong_use(tmp_path: Path) -> None:
    assert wardround("compose", "--engine", "vlm", cwd=tmp_path).returncode == 2


def test_an_unknown_model_to_quantize_is_wrong_use(tmp_path: Path) -> None:
    done = wardround("compose", "--fp8", "llama", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "wardround: --fp8: 'llama' is no model that compose.yaml serves; see `wardround models`\n"


def test_engines_are_listed_with_what_they_do(tmp_path: Path) -> None:
    listed = wardround("models", "engines", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    head, _, *lines = listed.stdout.splitlines()
    assert head.split() == ["vllm", "tgi", "sglang", "llamacpp", "ollama", "transformers"]
    rows = {cells(line)[0]: cells(line)[1:] for line in lines}
    assert rows["begun answer"] == ["continued", "?", "?", "repeated", "?", "refused"]


def test_one_engine_is_told_of_in_sentences(tmp_path: Path) -> None:
    told = wardround("models", "engines", "llamacpp", cwd=tmp_path).stdout
    assert told.startswith("llama.cpp")
    assert "no template           made up   Without a chat template it uses ChatML and says nothing." in told
    assert "Its context is divided by the number of its slots." in told


def test_an_engine_that_nobody_knows_is_told_with_those_that_are(tmp_path: Path) -> None:
    done = wardround("models", "engines", "vlm", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "wardround: unknown engine 'vlm'; known: vllm, tgi, sglang, llamacpp, ollama, transformers\n"
    )
