"""The catalogue of models and the rows with which a study completes it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support import ROOT
from wardround.baseline.answerers import BASELINES
from wardround.catalogue import Model, Weights, catalogue, find_model, first_complaint, resolve_model
from wardround.errors import CatalogueError

URL = "http://127.0.0.1:8000/v1"
SERVED = {name: model.serving for name, model in catalogue().items() if model.serving}
SHAPE = {"port": 8000, "parameters": 8, "layers": 32, "heads": 32, "kv_heads": 8, "head_size": 128}


def complaint(row: str | dict[str, Any]) -> str:
    """The text of the `CatalogueError` that resolving `row` raises, which is one line."""
    with pytest.raises(CatalogueError) as raised:
        resolve_model(row)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_shipped_catalogue_names_each_model_as_its_row_does() -> None:
    assert all(model.name == name for name, model in catalogue().items())


def test_every_baseline_of_the_embedded_server_is_in_the_catalogue() -> None:
    rows = {name for name, model in catalogue().items() if model.group == "baseline"}
    assert rows == set(BASELINES)


def test_baselines_are_answered_by_the_embedded_server() -> None:
    assert {catalogue()[name].base_url for name in BASELINES} == {"embedded"}


def test_every_shipped_model_has_a_title() -> None:
    assert [name for name, model in catalogue().items() if not model.title] == []


def test_counterparts_of_shipped_models_are_in_the_catalogue() -> None:
    named = {name for model in catalogue().values() for name in model.counterparts}
    assert named <= set(catalogue())


def test_a_model_is_found_by_name() -> None:
    assert find_model("baseline-lead").name == "baseline-lead"
    assert resolve_model("baseline-lead") == find_model("baseline-lead")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    text = complaint("baseline-led")
    assert text.startswith("unknown model 'baseline-led'; did you mean 'baseline-lead'?")
    assert "needs `name` and `base_url`" in text


def test_a_name_like_none_is_answered_with_the_command_that_lists_them() -> None:
    assert "see `wardround models`" in complaint("zzz")


def test_a_row_of_its_own_needs_name_and_endpoint() -> None:
    model = resolve_model({"name": "mine", "base_url": URL})
    assert (model.name, model.base_url, model.served_name) == ("mine", URL, "mine")


def test_a_row_of_its_own_without_endpoint_is_an_unknown_model() -> None:
    assert complaint({"name": "mine"}).startswith("unknown model 'mine'")


@pytest.mark.parametrize("row", [{}, {"base_url": URL}, {"name": None}, {"name": 7, "base_url": URL}])
def test_a_row_without_a_name_is_said(row: dict[str, Any]) -> None:
    assert complaint(row) == "a model needs a `name`"


def test_an_empty_name_is_said() -> None:
    assert complaint({"name": "", "base_url": URL}).startswith("model '': name: ")


def test_an_inline_row_completes_the_catalogues() -> None:
    model = resolve_model({"name": "baseline-lead", "stream": True})
    shipped = find_model("baseline-lead")
    assert model.stream
    assert (model.title, model.group, model.base_url) == (shipped.title, shipped.group, shipped.base_url)


def test_an_inline_row_wins_over_the_catalogues() -> None:
    model = resolve_model({"name": "baseline-lead", "base_url": URL, "title": "elsewhere"})
    assert (model.base_url, model.title, model.group) == (URL, "elsewhere", "baseline")


def test_an_inline_row_leaves_the_catalogue_as_it_is() -> None:
    before = find_model("baseline-lead")
    resolve_model({"name": "baseline-lead", "base_url": URL})
    assert find_model("baseline-lead") == before


def test_the_served_name_is_the_one_given_for_the_server() -> None:
    assert resolve_model({"name": "mine", "base_url": URL, "served_as": "org/model"}).served_name == "org/model"


@pytest.mark.parametrize("url", [URL, URL + "/", URL + "//"])
def test_a_slash_at_the_end_of_the_url_does_not_matter(url: str) -> None:
    assert resolve_model({"name": "mine", "base_url": url}).base_url == URL


@pytest.mark.parametrize("url", ["", "localhost:8000", "127.0.0.1/v1", "ftp://host/v1", "Embedded", "file:///v1"])
def test_an_endpoint_that_is_no_http_url_is_said(url: str) -> None:
    assert complaint({"name": "mine", "base_url": url}) == (
        "model 'mine': base_url: must be an http:// or https:// URL up to and including /v1, or 'embedded'"
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"temprature": 0.5}, "model 'mine': temprature: unknown key"),
        ({"key": "secret"}, "model 'mine': key: unknown key"),
        (
            {"group": "medical"},
            "model 'mine': group: Input should be 'biomedical', 'general', 'baseline' or 'other'",
        ),
        ({"temperature": -1}, "model 'mine': temperature: Input should be greater than or equal to 0"),
        ({"stream": "perhaps"}, "model 'mine': stream: "),
        ({"prefill": "yes"}, "model 'mine': prefill: Input should be 'continue' or 'drop'"),
        ({"protocol": "telnet"}, "model 'mine': protocol: Input should be "),
        ({"extra_body": "top_k=1"}, "model 'mine': extra_body: "),
        ({"counterparts": "llama"}, "model 'mine': counterparts: "),
    ],
)
def test_a_field_that_does_not_parse_is_said_with_its_name(fields: dict[str, Any], text: str) -> None:
    assert complaint({"name": "mine", "base_url": URL, **fields}).startswith(text)


def test_models_sample_greedily_unless_told_otherwise() -> None:
    assert resolve_model({"name": "mine", "base_url": URL}).temperature == 0


def test_a_model_cannot_be_changed() -> None:
    model = find_model("baseline-lead")
    with pytest.raises(ValidationError):
        model.title = "other"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "name: missing"),
        ({"name": "x", "nmae": "y"}, "nmae: unknown key"),
        (
            {"name": "x", "extra_body": {}, "counterparts": ["a", 5]},
            "counterparts.1: Input should be a valid string",
        ),
    ],
)
def test_the_first_complaint_says_where_and_what(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Model(**fields)
    assert first_complaint(raised.value) == line


@pytest.mark.parametrize(
    "base_url",
    [
        "http://nurse:secret@127.0.0.1/v1",
        "http://127.0.0.1/v1?key=secret",
        "http://127.0.0.1/v1#secret",
        "http://[::1/v1",
    ]
    + ["http://127.0.0.1:99999/v1", "http:///v1"],
)
def test_an_address_with_secrets_or_that_is_none_is_refused_without_repeating_it(base_url: str) -> None:
    with pytest.raises(CatalogueError) as refused:
        resolve_model({"name": "mine", "base_url": base_url})
    assert "secret" not in str(refused.value)
    assert "base_url" in str(refused.value)


def test_every_model_but_the_baselines_can_be_served() -> None:
    assert SERVED.keys() == {name for name, model in catalogue().items() if model.group != "baseline"}


def test_no_two_models_are_served_at_one_port() -> None:
    # 8600 is the embedded server's, 8700 and above are those of the services beside the models.
    ports = Counter(weights.port for weights in SERVED.values())
    assert [port for port, times in ports.items() if times > 1 or not 8600 < port < 8700] == []


def test_a_revision_is_a_whole_commit_or_the_branch() -> None:
    revisions = {weights.revision for weights in SERVED.values()}
    assert [one for one in revisions if not re.fullmatch(r"main|[0-9a-f]{40}", one)] == []
    assert sum(weights.revision != "main" for weights in SERVED.values()) >= 25


def test_every_template_of_a_row_is_shipped() -> None:
    folder = ROOT / "servers" / "templates"
    named = {model.chat_template for model in catalogue().values()} - {None, "plain"}
    assert named
    assert [name for name in named if not (folder / f"{name}.jinja").is_file()] == []


@pytest.mark.parametrize(
    "name", ["mistral-7b-instruct-v0.1", "mistral-7b-instruct-v0.2", "mixtral-8x7b-instruct-v0.1", "biomistral-7b"]
)
def test_models_without_a_system_role_have_it_merged(name: str) -> None:
    assert find_model(name).system == "merge"


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("openbiollm-8b", "llama-3"),
        ("openbiollm-70b", "llama-3"),
        ("clinicalcamel-70b", "llama-2"),
        ("llama-3-8b", "plain"),
        ("mistral-7b-v0.1", "plain"),
        ("meditron-7b", "plain"),
        ("llama-2-70b", "plain"),
    ],
)
def test_models_without_a_template_are_given_one(name: str, template: str) -> None:
    assert find_model(name).chat_template == template


def test_derivatives_of_llama_3_stop_at_the_end_of_a_turn() -> None:
    general = {"llama-3-8b-instruct", "llama-3-70b-instruct", "llama-3.1-8b-instruct", "llama-3.1-70b-instruct"}
    derived = [model for model in catalogue().values() if general & set(model.counterparts)]
    assert len(derived) >= 12
    for model in derived:
        assert model.stop == ("<|eot_id|>",), model.name
        assert model.extra_body == {"stop_token_ids": [128009]}, model.name


def test_models_that_think_have_tokens_for_it_and_room() -> None:
    thinking = [model for model in catalogue().values() if model.reasoning_tokens]
    assert {model.name for model in thinking} == {"huatuogpt-o1-8b", "ii-medical-8b", "qwen3-8b"}
    assert find_model("huatuogpt-o1-8b").reasoning == "final-response"
    for model in thinking:
        assert model.served_context is not None
        assert model.served_context - model.reasoning_tokens >= 12_000, model.name


def test_metas_and_googles_own_models_are_known_to_be_gated() -> None:
    of_these = {
        name for name, model in catalogue().items() if (model.served_as or "").startswith(("meta-llama/", "google/"))
    }
    assert len(of_these) >= 10
    assert [name for name in of_these if SERVED[name].gated is not True] == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"layrs": 32}, "model 'mine': serving.layrs: unknown key"),
        ({"port": 80}, "model 'mine': serving.port: Input should be greater than or equal to 1024"),
        ({"revision": "-x"}, "model 'mine': serving.revision: String should match pattern"),
        ({"kv_heads": 5}, "model 'mine': serving: heads must be a multiple of kv_heads"),
        ({"windowed_layers": 8}, "model 'mine': serving: windowed_layers: some of the layers, and with a window"),
        ({"windowed_layers": 64, "window": 9}, "model 'mine': serving: windowed_layers: some of the layers"),
        ({"engine": "vlm"}, "model 'mine': serving.engine: Input should be 'vllm', 'tgi', 'sglang', 'llamacpp' or"),
        ({"arguments": {"vlm": []}}, "model 'mine': serving.arguments.vlm.[key]: Input should be 'vllm'"),
    ],
)
def test_weights_that_do_not_parse_are_said(fields: dict[str, Any], text: str) -> None:
    assert complaint({"name": "mine", "base_url": URL, "context": 8192, "serving": {**SHAPE, **fields}}).startswith(
        text
    )


def test_an_engine_must_be_told_a_context() -> None:
    text = complaint({"name": "mine", "base_url": URL, "serving": SHAPE})
    assert text == "model 'mine': serving.context: with how many tokens is the engine started?"
    assert resolve_model({"name": "mine", "base_url": URL, "context": 99, "serving": SHAPE}).served_context == 99
    wider = {**SHAPE, "context": 2048}
    assert resolve_model({"name": "mine", "base_url": URL, "context": 99, "serving": wider}).served_context == 2048


def test_weights_are_what_the_row_says_after_it_is_completed() -> None:
    completed = resolve_model({"name": "llama-3-8b-instruct", "base_url": URL})
    assert completed.serving == find_model("llama-3-8b-instruct").serving
    assert isinstance(completed.serving, Weights)
