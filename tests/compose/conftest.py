"""The compose lane's engine, images and projects; `make test-compose` runs it, nothing else does.

Without an engine, and where none can be unpacked, its tests are skipped with the reason; with
WARDROUND_COMPOSE_REQUIRED=1 in the environment they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from tests.compose import image
from tests.compose.engine import CannotRun, Docker, docker
from tests.compose.project import EMBEDDED, Project
from tests.engines.fetch import is_fetched

ASKED = "WARDROUND_COMPOSE"
REQUIRED = "WARDROUND_COMPOSE_REQUIRED"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "compose: brings up containers (make test-compose)")


def leave_out(reason: str) -> NoReturn:
    """Skip the test, or fail it where the lane is required."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need(name: str) -> None:
    """Skip or fail if an inference engine is not in the cache."""
    if not is_fetched(name):
        leave_out(f"{name} is not there; fetch it with: python -m tests.engines.fetch {name}")


@pytest.fixture(scope="session")
def engine() -> Iterator[Docker]:
    """A Docker engine until the end of the session."""
    if "1" not in (os.environ.get(ASKED), os.environ.get(REQUIRED)):
        pytest.skip("brings up containers; run it with: make test-compose")
    with ExitStack() as stack:
        try:
            started = stack.enter_context(docker())
        except CannotRun as error:
            leave_out(str(error))
        else:
            yield started
            started.run("docker", "image", "rm", "--force", image.BASE, image.LLAMA, image.VLLM, EMBEDDED)


@pytest.fixture(scope="session")
def base_image(engine: Docker) -> str:
    """This machine's Python as an image, with the wheels that the embedded server's image is built of."""
    try:
        return image.make_base(engine, image.wheels())
    except CannotRun as error:
        leave_out(str(error))


@pytest.fixture(scope="session")
def llama_image(engine: Docker) -> str:
    """The llama-server of the engines' tests as an image."""
    need("llama-server")
    try:
        return image.make_llama(engine)
    except CannotRun as error:
        leave_out(str(error))


@pytest.fixture(scope="session")
def vllm_image(engine: Docker) -> str:
    """The vLLM of the engines' tests as an image, without its packages."""
    need("vllm")
    try:
        return image.make_vllm(engine)
    except CannotRun as error:
        leave_out(str(error))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module's files lie."""
    return tmp_path_factory.mktemp("compose")


@pytest.fixture(scope="module")
def project(engine: Docker, base_image: str, folder: Path) -> Iterator[Project]:
    """A compose project that is taken down at the end of the module, whatever it has brought up."""
    started = Project(engine, folder, base_image)
    yield started
    started.down()
