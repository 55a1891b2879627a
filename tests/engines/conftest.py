"""Engines for the tests, one process each for the whole session.

An engine that is not in the cache skips the tests that need it, with the command that fetches it; with
WARDROUND_ENGINES_REQUIRED=1 in the environment, as in CI, they fail; with WARDROUND_ENGINES_REQUIRED=all also those
that need `transformers serve`, which nothing else requires.

vLLM takes long to start, most of it imports on one core, so it is launched before the first test, if one needs it, and
starts while llama-server is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engines import serving
from tests.engines.fetch import is_fetched
from tests.engines.serving import Engine, running
from tests.engines.tiny import Tiny, build

KEY_ENV = "WARDROUND_TEST_ENGINE_KEY"
KEY = "sk-engine-0123456789abcdef"

# Lines for the end of the session, by engine: what was seen of it.
Figures = dict[str, list[str]]
_FIGURES = pytest.StashKey[Figures]()
_LAUNCHED = pytest.StashKey[list[Engine]]()


def need(engine: str) -> None:
    """Skip, or fail where engines are required, if `engine` is not in the cache."""
    if is_fetched(engine):
        return
    words = f"{engine} is not there; fetch it with: python -m tests.engines.fetch {engine}"
    if os.environ.get("WARDROUND_ENGINES_REQUIRED") in (("all",) if engine == "transformers" else ("1", "all")):
        pytest.fail(words, pytrace=False)
    pytest.skip(words)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the vLLMs behind the last of these tests, so that they take nothing from the load tests that follow."""
    here = Path(__file__).parent
    if nextitem is None or here not in nextitem.path.parents:
        for engine in item.config.stash.get(_LAUNCHED, []):
            engine.stop()
            engine.process = None


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """What was seen of each engine; printed when all tests are done."""
    return request.config.stash.setdefault(_FIGURES, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was seen of the engines."""
    for engine, lines in config.stash.get(_FIGURES, {}).items():
        terminalreporter.write_line(f"{engine}: {'; '.join(lines)}")


def started(engine: Engine, figures: Figures) -> Engine:
    """An engine that answers, its start among the figures."""
    engine.wait()
    note_start(engine, figures)
    return engine


def note_start(engine: Engine, figures: Figures) -> None:
    """Put down how long an engine's start took, if somebody was waiting for it."""
    if engine.start_s is not None:
        figures.setdefault(engine.name, []).append(f"started in {engine.start_s:.2f} s")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny model."""
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_without_template(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The same without a chat template."""
    return build(tmp_path_factory.mktemp("untemplated"), template=False)


@pytest.fixture(scope="session")
def engine_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where engines write."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session", autouse=True)
def _key() -> Iterator[None]:
    """The key that engines are started with, where rows of the catalogue look for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_ENV, KEY)
        yield


@pytest.fixture(scope="session")
def llama_server(tiny: Tiny, engine_folder: Path, figures: Figures) -> Iterator[Engine]:
    """llama.cpp's server, with a key."""
    need("llama-server")
    with running(serving.llama_server(tiny, engine_folder, "--api-key", KEY)) as engine:
        yield started(engine, figures)


@pytest.fixture(scope="session")
def llama_server_without_template(tiny_without_template: Tiny, engine_folder: Path) -> Iterator[Engine]:
    """llama.cpp's server with a model that has no chat template."""
    need("llama-server")
    with running(serving.llama_server(tiny_without_template, engine_folder)) as engine:
        yield engine


@pytest.fixture(scope="session", autouse=True)
def _vllms(
    request: pytest.FixtureRequest, tiny: Tiny, tiny_without_template: Tiny, engine_folder: Path
) -> Iterator[dict[str, Engine]]:
    """Every vLLM that a test of this session needs, launched side by side and not waited for."""
    engines = {
        "vllm": serving.vllm(
            tiny, engine_folder, "--api-key", KEY, "--max-num-seqs", "4", "--max-num-queued-reqs", "8"
        ),
        "vllm_without_template": serving.vllm(tiny_without_template, engine_folder),
    }
    needed = set().union(*map(_fixtures_of, request.session.items)) if is_fetched("vllm") else set()
    with ExitStack() as stack:
        for name, engine in engines.items():
            if name in needed:
                engine.launch()
                stack.callback(engine.stop)
                request.config.stash.setdefault(_LAUNCHED, []).append(engine)
        yield engines


def _fixtures_of(item: pytest.Item) -> set[str]:
    """The names of the fixtures that a test asks for, also of those that it is parametrised with."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return {*getattr(item, "fixturenames", ()), *map(str, parameters.values())}


@pytest.fixture(scope="session")
def vllm(_vllms: dict[str, Engine], figures: Figures) -> Engine:
    """vLLM with a key, 4 requests at a time and 8 that may wait."""
    need("vllm")
    return started(_vllms["vllm"], figures)


@pytest.fixture(scope="session")
def vllm_without_template(_vllms: dict[str, Engine]) -> Engine:
    """vLLM with a model that has no chat template, and no key."""
    need("vllm")
    _vllms["vllm_without_template"].wait()
    return _vllms["vllm_without_template"]


@pytest.fixture(scope="session")
def transformers(tiny: Tiny, engine_folder: Path, figures: Figures) -> Iterator[Engine]:
    """`transformers serve`, which knows no keys."""
    need("transformers")
    with running(serving.transformers_serve(tiny, engine_folder)) as engine:
        yield started(engine, figures)


@pytest.fixture(scope="session", params=["llama_server", "vllm"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    serving: Engine = request.getfixturevalue(request.param)
    return serving


@pytest.fixture(params=["openai-chat", "openai-completions"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Each protocol that both engines speak; of the second, the prompts are rendered here."""
    return str(request.param)


@pytest.fixture(scope="session")
def count(tiny: Tiny) -> Callable[[str], int]:
    """The number of tokens that a text has by the model's own tokenizer, none added."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny.folder / "tokenizer.json"))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
