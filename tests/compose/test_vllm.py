"""compose.yaml itself with a true vLLM behind one of its services: its command line, secret, key, weights and cache.

The service is as committed but for its image, whose vLLM is the build for CPUs of the engines' tests, and the GPUs. The
tiny model lies where the engine keeps what it has downloaded, under the name and the revision of the catalogue.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compose.asking import get, listening, study_over
from tests.compose.image import vllm_packages
from tests.compose.project import Project, Reset
from tests.engines.tiny import CONTEXT, build
from tests.support import ROOT, write_study
from wardround.catalogue import find_model

pytestmark = pytest.mark.compose

NAME = "llama-3-8b-instruct"
KEY = "sk-compose-fedcba9876543210"
KEY_ENV = "VLLM_API_KEY"
TOKEN = "hf-of-the-tests-0123456789"
ON_A_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
}


def downloaded(weights: Path, folder: Path) -> None:
    """Put the tiny model below `weights` as Hugging Face's client keeps a downloaded one."""
    model = find_model(NAME)
    assert model.serving is not None
    revision = model.serving.revision
    repository = weights / "hub" / f"models--{model.served_name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision, encoding="utf-8")
    (repository / "snapshots").mkdir()
    build(folder / "tiny").folder.rename(repository / "snapshots" / revision)


@pytest.fixture(scope="module")
def port() -> int:
    weights = find_model(NAME).serving
    assert weights is not None
    return weights.port


@pytest.fixture(scope="module", autouse=True)
def _up(project: Project, vllm_image: str, folder: Path) -> None:
    downloaded(folder / "weights", folder)
    token = folder / "hf_token"
    token.write_text(TOKEN, encoding="utf-8")
    token.chmod(0o600)
    mounted = f"{vllm_packages()}:/vllm:ro"
    service = {"image": vllm_image, "deploy": Reset(), "environment": ON_A_CPU, "volumes": [mounted]}
    variables = {
        "WEIGHTS": str(folder / "weights"),
        "HF_TOKEN_FILE": str(token),
        "HF_HUB_OFFLINE": "1",
        "LLAMA_3_8B_INSTRUCT_CONTEXT": str(CONTEXT),
        "GPU_MEMORY_UTILIZATION": "0.1",
        KEY_ENV: KEY,
    }
    project.use(ROOT / "compose.yaml", {NAME: service}, variables)
    project.up(NAME, services=[NAME])


def test_the_command_line_as_committed_brings_it_up(project: Project) -> None:
    container = project.container(NAME)
    assert container["State"]["Health"]["Status"] == "healthy"
    assert container["Path"] == "vllm"
    assert container["Args"][:2] == ["serve", find_model(NAME).served_name]


def test_it_is_published_on_loopback_alone(project: Project, port: int) -> None:
    assert listening(project.docker, port) == {"127.0.0.1"}


def test_the_token_is_a_mounted_file_and_no_variable(project: Project) -> None:
    assert project.inside(NAME, "cat", "/run/secrets/hf_token") == (0, TOKEN)
    container = project.container(NAME)
    assert "HF_TOKEN_PATH=/run/secrets/hf_token" in container["Config"]["Env"]
    assert TOKEN not in str(container["Config"]) + str(container["Args"])


def test_without_the_key_nothing_is_answered(project: Project, port: int) -> None:
    address = f"http://127.0.0.1:{port}/v1/models"
    assert get(project.docker, address)[0] == 401
    code, body = get(project.docker, address, KEY)
    assert code == 200
    assert find_model(NAME).served_name in body
    assert f'"{NAME}"' in body


def test_a_study_finds_it_by_its_name(project: Project, tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study.yaml",
        models=[{"name": NAME, "key_env": KEY_ENV, "context": CONTEXT}],
        tasks=[{"task": "mednli", "limit": 6, "max_tokens": 8}],
    )
    done = study_over(project.docker, study, **{KEY_ENV: KEY})
    assert done.returncode == 0, done.stderr
    assert "6 samples asked: 6 answered, 0 failed" in done.stdout


def test_no_key_and_no_token_gets_into_the_logs(project: Project) -> None:
    logs = project.compose("logs", NAME)
    assert "vLLM" in logs or "vllm" in logs
    assert KEY not in logs
    assert TOKEN not in logs
