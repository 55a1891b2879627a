"""The client finds a served model by its catalogue name, with no further setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import write_study
from wardround.catalogue import Model, as_composed, catalogue, find_model
from wardround.cli.models import model_named
from wardround.errors import CatalogueError, StudyError
from wardround.study import load_study

URL = "http://127.0.0.1:8000/v1"


def model_of(tmp_path: Path, row: Any, **fields: Any) -> Model:
    return load_study(write_study(tmp_path / "study.yaml", models=[row], **fields)).models[0]


def served_at(name: str) -> str:
    weights = find_model(name).serving
    assert weights is not None
    return f"http://127.0.0.1:{weights.port}/v1"


def test_a_catalogue_name_is_asked_where_compose_publishes_it(tmp_path: Path) -> None:
    assert model_of(tmp_path, "openbiollm-8b").base_url == served_at("openbiollm-8b") == "http://127.0.0.1:8610/v1"


def test_a_completed_row_is_asked_there_too(tmp_path: Path) -> None:
    model = model_of(tmp_path, {"name": "openbiollm-8b", "key_env": "VLLM_API_KEY"})
    assert (model.base_url, model.key_env) == (served_at("openbiollm-8b"), "VLLM_API_KEY")


def test_the_base_url_of_a_study_wins_over_it(tmp_path: Path) -> None:
    assert model_of(tmp_path, "openbiollm-8b", base_url=URL).base_url == URL


def test_the_base_url_of_a_row_wins_over_both(tmp_path: Path) -> None:
    row = {"name": "openbiollm-8b", "base_url": "http://127.0.0.1:9/v1"}
    assert model_of(tmp_path, row, base_url=URL).base_url == "http://127.0.0.1:9/v1"


def test_a_model_that_the_catalogue_does_not_serve_still_needs_an_endpoint(tmp_path: Path) -> None:
    with pytest.raises((StudyError, CatalogueError), match="base_url"):
        model_of(tmp_path, {"name": "mine"})


def test_prompts_fit_what_the_engine_is_started_with(tmp_path: Path) -> None:
    assert find_model("llama-3.1-8b-instruct").context == 131_072
    assert model_of(tmp_path, "llama-3.1-8b-instruct").context == 16_384
    assert model_of(tmp_path, {"name": "llama-3.1-8b-instruct", "context": 4096}).context == 4096
    assert model_of(tmp_path, {"name": "llama-3.1-8b-instruct", "base_url": URL}).context == 131_072


def test_a_model_whose_own_context_is_not_known_gets_the_engines(tmp_path: Path) -> None:
    assert find_model("meditron3-8b").context is None
    assert model_of(tmp_path, "meditron3-8b").context == 8192


def test_a_model_that_was_trained_on_less_keeps_to_it(tmp_path: Path) -> None:
    assert model_of(tmp_path, "biomistral-7b").context == 2048


def test_an_attestation_does_not_come_along() -> None:
    row = find_model("openbiollm-8b").model_copy(update={"attestation": "verified for another endpoint"})
    assert as_composed(row).attestation is None


def test_who_has_an_endpoint_is_left_alone() -> None:
    assert [as_composed(model) for model in catalogue().values() if model.base_url] == [
        model for model in catalogue().values() if model.base_url
    ]


def test_a_model_named_on_the_command_line_is_found_too() -> None:
    assert model_named("openbiollm-8b", None, None).base_url == served_at("openbiollm-8b")
    assert model_named("openbiollm-8b", URL, None).base_url == URL
