"""The check for GPU machines: its model, its section, its complaints, and all of it on a CPU with the tiny model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open

from tests.engines.fetch import is_fetched
from tests.gpu.larger import SHAPES, build, parameters
from tests.gpu.section import card
from tests.gpu.study import SAMPLES, study
from tests.support import ROOT, wardround

SCRIPT = ROOT / "tests" / "gpu" / "run.sh"


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", SCRIPT], env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False
    )


def test_the_script_has_no_lint() -> None:
    found = shutil.which("shellcheck")
    command = [found] if found else ["bash", "-n"]
    done = subprocess.run([*command, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("size", "thousand_millions"), [("1b", 0.975), ("3b", 2.82), ("8b", 6.98)])
def test_a_size_has_the_layers_of_the_llama_it_is_named_after(size: str, thousand_millions: float) -> None:
    # Llama's own weights without embeddings and output layer.
    assert parameters(SHAPES[size], 0) / 1e9 == pytest.approx(thousand_millions, rel=0.005)


def test_the_model_is_what_its_header_says_and_the_same_every_time(tmp_path: Path) -> None:
    size = build("small", tmp_path / "a")
    build("small", tmp_path / "b")
    written = (tmp_path / "a" / "model.safetensors").read_bytes()
    assert written == (tmp_path / "b" / "model.safetensors").read_bytes()
    config = json.loads((tmp_path / "a" / "config.json").read_text(encoding="utf-8"))
    with safe_open(tmp_path / "a" / "model.safetensors", framework="np") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no mapping)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == size
    assert shapes["lm_head.weight"] == [config["vocab_size"], config["hidden_size"]]
    assert len([name for name in shapes if name.endswith("q_proj.weight")]) == config["num_hidden_layers"]


def test_its_weights_are_spread_as_they_were_drawn(tmp_path: Path) -> None:
    build("small", tmp_path)
    raw = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    begin, end = header["model.layers.3.mlp.down_proj.weight"]["data_offsets"]
    upper = np.frombuffer(raw[8 + length + begin : 8 + length + end], dtype="<u2").astype(np.uint32)
    spread = (upper << 16).view(np.float32).std()
    assert spread == pytest.approx(SHAPES["small"].feed_forward ** -0.5, rel=0.02)


def test_what_a_card_drew_is_summed_up(tmp_path: Path) -> None:
    rows = ["NVIDIA A, 580.1, 143771, 90000, 200.5, 50", "NVIDIA A, 580.1, 143771, 120000, 400.5, 100"]
    (tmp_path / "gpu.csv").write_text("\n".join([*rows, "NVIDIA A, 580.1, 143771, [N/A], [N/A], [N/A]"]), "utf-8")
    assert card(tmp_path) == (
        "NVIDIA A, driver 580.1",
        "300 W drawn on average and 400 W at most, 120,000 of 143771 MiB held, busy 75 % of the time",
    )


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ENGINE": "tgi"}, "ENGINE is vllm, transformers or llama-server"),
        ({"MODEL_SIZE": "70b"}, "MODEL_SIZE is tiny, small, 1b, 3b or 8b"),
        ({"ENGINE": "llama-server", "MODEL_SIZE": "1b"}, "MODEL_SIZE=tiny"),
        ({"DEVICE": "cuda", "PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""}, "nvidia-smi finds no GPU"),
        ({"DEVICE": "cpu", "ENGINE_PYTHON": "/usr/bin/false"}, "/usr/bin/false has no vllm: pip install vllm"),
    ],
)
def test_what_is_missing_is_said_in_a_line(environment: dict[str, str], words: str) -> None:
    if "nvidia-smi" in words and shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    done = run(**environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_study_for_gpus_is_one_that_can_be_planned(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study("vllm", tmp_path, 16_384, 8000)), encoding="utf-8")
    done = wardround("run", path, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Four cells: MedNLI and the three tasks of LongHealth.
    assert re.search(rf"^larger +{4 * SAMPLES} ", done.stdout, re.M)


def test_results_are_not_mixed_with_those_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    done = run(ENGINE="llama-server", MODEL_SIZE="tiny", DEVICE="cpu", OUT=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "name another OUT" in done.stderr


@pytest.mark.engine
def test_all_of_it_runs_on_a_cpu_with_the_tiny_model(tmp_path: Path) -> None:
    if not is_fetched("llama-server"):
        if os.environ.get("WARDROUND_ENGINES_REQUIRED") == "1":
            pytest.fail("llama-server is not there", pytrace=False)
        pytest.skip("llama-server is not there; fetch it with: python -m tests.engines.fetch llama-server")
    out = tmp_path / "out"
    asked = {"ENGINE": "llama-server", "MODEL_SIZE": "tiny", "DEVICE": "cpu", "OUT": str(out)}
    # Objectives that any machine keeps, however busy: what is shown here is that all parts work together.
    done = run(**asked, SECONDS_A_RATE="2", MOST_RATE="2", SLO="ttft=60s")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (out / "section.md").read_text(encoding="utf-8")
    assert "no GPU" in done.stdout
    assert "24 samples asked: 24 answered, 0 failed" in done.stdout
    assert "2 requests/s carried, and no limit found" in done.stdout
    [port] = {
        line.rpartition(":")[2].split("/")[0]
        for line in (out / "study.yaml").read_text().splitlines()
        if "127." in line
    }
    listening = subprocess.run(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"], capture_output=True, check=False)
    assert listening.returncode != 0, "the engine runs on"
