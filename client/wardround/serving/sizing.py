"""How much GPU memory a model needs. GB are 10⁹ bytes, as on a card's box; an 80 GB card has a little more.

    need = weights × 1.02 + cache + GPUs × 2 GB, and that must be at most 0.9 of the cards together
    weights = parameters × bytes a parameter: 2, or 1.15 in fp8
    cache = 2 × layers × KV heads × head size × 2 bytes × tokens, tokens = context × sequences side by side

The 2 of the cache are keys and values; they stay in 16 bits when the weights are in 8. Layers with a window keep its
tokens only. 1.02: what allocators round up and buffers that are no parameters. 1.15: in fp8 embeddings and output layer
stay in 16 bits; that is the worst of the catalogue's (Qwen3 8B, a large vocabulary on few parameters). 2 GB a GPU: the
CUDA context and its libraries, captured graphs, the activations of a batch of 8,192 tokens. 0.9 is the share of a card
that the engines are given (`GPU_MEMORY_UTILIZATION`).

An engine starts with less: one sequence of the whole context must fit. The rest decides how many requests run side by
side before they queue.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.catalogue import Weights

CONCURRENT = 8
"""Sequences of the whole context side by side, for which the catalogue's needs are stated."""

UTILIZATION = 0.9
MOST_GPUS = 8
_BYTES = {None: 2.0, "fp8": 1.15}
_CACHE_BYTES = 2
_ROUNDING = 1.02
_OVERHEAD_GB = 2.0
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Need:
    """What a model needs on `gpus` GPUs together, in GB: its weights, its KV cache, all else."""

    gpus: int
    weights_gb: float
    cache_gb: float
    overhead_gb: float

    @property
    def total_gb(self) -> float:
        """All GPUs together."""
        return self.weights_gb + self.cache_gb + self.overhead_gb

    @property
    def per_gpu_gb(self) -> float:
        """Tensor parallelism shares all of it out evenly."""
        return self.total_gb / self.gpus

    def fits(self, gpu_gb: float) -> bool:
        """Whether cards of `gpu_gb` GB hold it."""
        return self.per_gpu_gb <= gpu_gb * UTILIZATION


def cache_bytes(weights: Weights, context: int) -> int:
    """Bytes of the KV cache for one sequence of `context` tokens."""
    a_token_and_layer = 2 * weights.kv_heads * weights.head_size * _CACHE_BYTES
    full = (weights.layers - weights.windowed_layers) * context
    windowed = weights.windowed_layers * min(context, weights.window or context)
    return a_token_and_layer * (full + windowed)


def needed(
    weights: Weights, *, context: int, concurrent: int = CONCURRENT, gpus: int = 1, quantization: str | None = None
) -> Need:
    """The need of `concurrent` sequences of `context` tokens on `gpus` GPUs; the formula is this module's docstring."""
    weights_gb = weights.parameters * _BYTES[quantization or weights.quantization]
    return Need(
        gpus=gpus,
        weights_gb=weights_gb,
        cache_gb=cache_bytes(weights, context) * concurrent / _GB,
        overhead_gb=weights_gb * (_ROUNDING - 1) + gpus * _OVERHEAD_GB,
    )


def parallel_sizes(weights: Weights, most: int = MOST_GPUS) -> tuple[int, ...]:
    """On how many GPUs, up to `most`, the attention heads can be shared out: divisors of heads and KV heads alike."""
    return tuple(n for n in range(1, most + 1) if weights.heads % n == 0 and weights.kv_heads % n == 0)


def smallest(
    weights: Weights,
    *,
    context: int,
    gpu_gb: float,
    most: int = MOST_GPUS,
    concurrent: int = CONCURRENT,
    quantization: str | None = None,
) -> Need | None:
    """The need on as few cards of `gpu_gb` GB as hold it; None if `most` of them do not."""
    for gpus in parallel_sizes(weights, most):
        need = needed(weights, context=context, concurrent=concurrent, gpus=gpus, quantization=quantization)
        if need.fits(gpu_gb):
            return need
    return None
