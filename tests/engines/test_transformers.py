"""What `transformers serve` does and what it leaves undone; run on demand, where it was fetched.

It checks little of what it is asked, so the client must not count on a refusal.
"""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.asking import PROMPT, failed, question, rendered, replied, row, streamed
from tests.engines.conftest import need
from tests.engines.serving import Engine, running, transformers_serve
from tests.engines.tiny import CONTEXT, Tiny
from tests.support import wardround, write_study
from wardround.catalogue import Model
from wardround.endpoints import Params
from wardround.endpoints.tokens import token_counter
from wardround.task import Prompt

pytestmark = pytest.mark.engine


def test_it_says_the_same_as_the_others_with_the_same_counts(
    transformers: Engine, llama_server: Engine, count: Callable[[str], int]
) -> None:
    for prompt in (PROMPT, question("Name three causes of anaemia.", system="Answer briefly.")):
        here, there = replied(transformers, prompt), replied(llama_server, prompt)
        assert (here.text, here.finish_reason, here.output_tokens) == (
            there.text,
            there.finish_reason,
            there.output_tokens,
        )
        assert here.prompt_tokens == count(rendered(prompt))


def test_a_streamed_answer_is_the_whole_one_in_pieces(transformers: Engine) -> None:
    whole = replied(transformers)
    reply, chunks = streamed(transformers)
    assert (reply.text, reply.output_tokens) == (whole.text, whole.output_tokens)
    assert "".join(chunk.text for chunk in chunks) == reply.text
    assert len(chunks) > 3


def test_stop_strings_are_ignored_there_and_cut_here(transformers: Engine) -> None:
    whole = replied(transformers)
    stopped = replied(transformers, params=Params(max_tokens=64, stop=("C80",)))
    assert stopped.text == whole.text[: whole.text.index("C80")]
    assert stopped.output_tokens == whole.output_tokens


def test_a_prompt_beyond_the_context_is_answered(transformers: Engine) -> None:
    reply = replied(transformers, question("fever and cough " * (CONTEXT // 3)), Params(max_tokens=2))
    assert reply.prompt_tokens is not None
    assert reply.prompt_tokens > CONTEXT


def test_another_model_is_refused_as_a_bad_request(transformers: Engine) -> None:
    failure = failed(transformers, served_as="other")
    assert (failure.kind, failure.status, failure.retryable) == ("bad_request", 400, False)
    assert "pinned" in failure.words


def test_a_begun_answer_is_refused_with_the_cure(transformers: Engine) -> None:
    failure = failed(transformers, Prompt(PROMPT.messages, prefill="The answer is"))
    assert (failure.kind, failure.status) == ("bad_request", 422)
    assert "set `prefill: drop`" in failure.words


def test_a_model_from_a_folder_is_not_in_its_list(transformers: Engine) -> None:
    assert json.loads(transformers.get("/v1/models"))["data"] == []


def test_an_empty_list_keeps_no_study_from_asking(transformers: Engine, tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study.yaml",
        models=[row(transformers, prefill="drop", context=CONTEXT)],
        tasks=[{"task": "mednli", "limit": 4, "max_tokens": 16}],
    )
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 samples asked: 4 answered, 0 failed" in done.stdout


def test_the_doctor_finds_what_it_does_not_do_and_no_more(transformers: Engine, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", models=[row(transformers)])
    done = wardround("doctor", "--study", study, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [said] = json.loads(done.stdout)
    red = {name for name, finding in said["findings"].items() if finding["state"] == "no"}
    assert red == {"stop", "prefill", "logprobs", "structured"}


def test_an_error_s_words_stand_in_detail(transformers: Engine) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        transformers.post("/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
    with caught.value as error:
        assert "pinned" in json.loads(error.read())["detail"]


def test_its_tokens_can_only_be_estimated(transformers: Engine) -> None:
    counter = token_counter(Model(**row(transformers)))
    assert (counter.name, counter.exact) == ("estimate: 3 bytes a token", False)


def test_a_prompt_beyond_its_cache_ends_its_answering_for_good(tiny: Tiny, engine_folder: Path) -> None:
    need("transformers")
    with running(transformers_serve(tiny, engine_folder, "--cb-num-blocks", "16")) as engine:
        assert replied(engine, params=Params(max_tokens=2)).text
        for prompt in (question("fever and cough " * 300), PROMPT):
            failure = failed(engine, prompt, Params(max_tokens=2))
            assert (failure.kind, failure.status, failure.retryable) == ("overload", 503, True)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            engine.get("/health")
