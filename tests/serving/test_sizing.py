"""How much GPU memory a model needs: the formula, its parts, and the figures that are known otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.catalogue import Weights, find_model
from wardround.serving.sizing import Need, cache_bytes, needed, parallel_sizes, smallest

CONTEXTS = st.integers(min_value=1, max_value=200_000)


def weights_of(name: str) -> Weights:
    weights = find_model(name).serving
    assert weights is not None
    return weights


# Weights in 16 bits, as they are known of these models, in GB.
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("llama-3-8b-instruct", 15, 16.5),
        ("mistral-7b-instruct-v0.1", 14, 16),
        ("mixtral-8x7b-instruct-v0.1", 93, 94),
        ("llama-3-70b-instruct", 140.5, 141.5),
        ("mixtral-8x22b-instruct-v0.1", 281, 282),
    ],
)
def test_weights_in_16_bits_are_what_is_known_of_them(name: str, least: float, most: float) -> None:
    assert least <= needed(weights_of(name), context=1).weights_gb <= most


def test_the_cache_of_a_token_is_keys_and_values_of_every_layer() -> None:
    # 2 (keys, values) × 32 layers × 8 heads × 128 × 2 bytes.
    assert cache_bytes(weights_of("llama-3-8b-instruct"), 1) == 131_072
    assert cache_bytes(weights_of("llama-3-8b-instruct"), 8192) == 131_072 * 8192


def test_layers_with_a_window_keep_its_tokens_only() -> None:
    gemma = weights_of("gemma-3-27b-it")
    a_layer = 2 * 16 * 128 * 2
    assert cache_bytes(gemma, 1024) == 62 * a_layer * 1024
    assert cache_bytes(gemma, 16_384) == a_layer * (10 * 16_384 + 52 * 1024)


def test_the_need_is_weights_cache_and_overhead() -> None:
    need = needed(weights_of("llama-3-8b-instruct"), context=8192, concurrent=8, gpus=2)
    assert need.weights_gb == pytest.approx(16.06)
    assert need.cache_gb == pytest.approx(8.59, abs=0.01)
    assert need.overhead_gb == pytest.approx(16.06 * 0.02 + 2 * 2.0)
    assert need.per_gpu_gb == pytest.approx(need.total_gb / 2)


def test_a_card_of_24_gb_serves_an_8b_with_8k_of_context() -> None:
    fits = smallest(weights_of("llama-3-8b-instruct"), context=8192, gpu_gb=24, most=1, concurrent=1)
    assert fits is not None
    assert smallest(weights_of("llama-3-8b-instruct"), context=8192, gpu_gb=24, most=1, concurrent=8) is None


@pytest.mark.parametrize(
    ("name", "gpu_gb", "quantization", "gpus"),
    [
        ("mixtral-8x7b-instruct-v0.1", 80, None, 2),
        ("llama-3-70b-instruct", 80, None, 4),
        ("llama-3-70b-instruct", 141, None, 2),
        ("llama-3-70b-instruct", 141, "fp8", 1),
    ],
)
def test_models_take_as_many_cards_as_they_are_known_to(
    name: str, gpu_gb: float, quantization: str | None, gpus: int
) -> None:
    need = smallest(weights_of(name), context=8192, gpu_gb=gpu_gb, quantization=quantization)
    assert need is not None
    assert need.gpus == gpus


def test_heads_are_shared_out_without_a_rest() -> None:
    assert parallel_sizes(weights_of("mixtral-8x22b-instruct-v0.1")) == (1, 2, 4, 8)
    assert parallel_sizes(weights_of("gemma-3-4b-it")) == (1, 2, 4)
    assert parallel_sizes(weights_of("llama-3-8b-instruct"), most=3) == (1, 2)


def test_what_no_number_of_cards_holds_has_no_need() -> None:
    assert smallest(weights_of("mixtral-8x22b-instruct-v0.1"), context=8192, gpu_gb=24) is None


def test_a_model_that_is_quantized_by_its_row_needs_no_word_about_it() -> None:
    row = weights_of("llama-3-8b-instruct").model_copy(update={"quantization": "fp8"})
    assert (
        needed(row, context=1).weights_gb == needed(weights_of("llama-3-8b"), context=1, quantization="fp8").weights_gb
    )


def test_a_card_must_leave_room_beside_what_the_engine_takes() -> None:
    assert Need(gpus=2, weights_gb=100, cache_gb=40, overhead_gb=4).fits(80)
    assert not Need(gpus=2, weights_gb=100, cache_gb=40, overhead_gb=4.1).fits(80)


@given(shorter=CONTEXTS, longer=CONTEXTS)
def test_more_context_never_needs_less(shorter: int, longer: int) -> None:
    shorter, longer = sorted((shorter, longer))
    for name in ("llama-3-8b-instruct", "gemma-3-27b-it"):
        assert cache_bytes(weights_of(name), shorter) <= cache_bytes(weights_of(name), longer)


@given(context=CONTEXTS, gpu_gb=st.floats(min_value=1, max_value=1000), concurrent=st.integers(1, 64))
def test_what_fits_is_the_smallest_number_of_cards_that_does(context: int, gpu_gb: float, concurrent: int) -> None:
    weights = weights_of("llama-3-70b-instruct")
    found = smallest(weights, context=context, gpu_gb=gpu_gb, concurrent=concurrent)
    fitting = [
        gpus
        for gpus in parallel_sizes(weights)
        if needed(weights, context=context, concurrent=concurrent, gpus=gpus).fits(gpu_gb)
    ]
    assert (found.gpus if found else None) == min(fitting, default=None)
