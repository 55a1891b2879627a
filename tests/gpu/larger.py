"""A Llama of a size that keeps a GPU busy, with random weights: made here and not downloaded.

    python -m tests.gpu.larger SIZE FOLDER

writes it into FOLDER as Hugging Face's libraries and vLLM read it. Its layers have the shapes of the models whose names
the sizes bear, so that time and memory are theirs; its vocabulary is the tiny model's, so embeddings and output layer are
smaller. What it says is no language.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.engines.tiny import BEGIN, END, END_OF_TURN, NORM_EPSILON, SEED, TEMPLATE, trained_tokenizer

CONTEXT = 16_384


@dataclass(frozen=True)
class Shape:
    """What a Llama's layers are made of."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    key_value_heads: int
    head_size: int


# "small" is for a CPU; the others have the layers of Llama 3.2 1B, Llama 3.2 3B and Llama 3 8B.
SHAPES = {
    "small": Shape(layers=4, hidden=256, feed_forward=704, heads=4, key_value_heads=2, head_size=64),
    "1b": Shape(layers=16, hidden=2048, feed_forward=8192, heads=32, key_value_heads=8, head_size=64),
    "3b": Shape(layers=28, hidden=3072, feed_forward=8192, heads=24, key_value_heads=8, head_size=128),
    "8b": Shape(layers=32, hidden=4096, feed_forward=14_336, heads=32, key_value_heads=8, head_size=128),
}


def tensors(shape: Shape, tokens: int) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """Each tensor's name, its shape (outputs, inputs), and the standard deviation of its weights; 0 where all are 1."""
    hidden, queries = shape.hidden, shape.heads * shape.head_size
    keys = shape.key_value_heads * shape.head_size
    yield "model.embed_tokens.weight", (tokens, hidden), 1.0
    for layer in range(shape.layers):
        for name, outputs, inputs in (
            ("self_attn.q_proj", queries, hidden),
            ("self_attn.k_proj", keys, hidden),
            ("self_attn.v_proj", keys, hidden),
            ("self_attn.o_proj", hidden, queries),
            ("mlp.gate_proj", shape.feed_forward, hidden),
            ("mlp.up_proj", shape.feed_forward, hidden),
            ("mlp.down_proj", hidden, shape.feed_forward),
        ):
            yield f"model.layers.{layer}.{name}.weight", (outputs, inputs), inputs**-0.5
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{name}.weight", (hidden,), 0.0
    yield "model.norm.weight", (hidden,), 0.0
    yield "lm_head.weight", (tokens, hidden), 3.0 * hidden**-0.5


def parameters(shape: Shape, tokens: int) -> int:
    """How many weights a model of this shape has."""
    return sum(prod(sizes) for _, sizes, _ in tensors(shape, tokens))


def build(size: str, folder: Path) -> int:
    """Write the model of `size` (a key of `SHAPES`) into `folder`; returns the number of its parameters."""
    shape = SHAPES[size]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = trained_tokenizer()
    tokens: int = tokenizer.get_vocab_size()
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_weights(folder / "model.safetensors", shape, tokens)
    begin, end, end_of_turn = (tokenizer.token_to_id(token) for token in (BEGIN, END, END_OF_TURN))
    ends = {"bos_token_id": begin, "eos_token_id": [end, end_of_turn]}
    files: dict[str, dict[str, Any]] = {
        "config.json": _config(shape, tokens) | ends,
        "generation_config.json": ends,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BEGIN,
            "eos_token": END_OF_TURN,
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
            "chat_template": TEMPLATE,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return parameters(shape, tokens)


def _config(shape: Shape, tokens: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": tokens,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": 500_000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }


def _write_weights(path: Path, shape: Shape, tokens: int) -> None:
    """The safetensors file, tensor by tensor: a model of 16 GB is made in the memory of its largest tensor.

    The format is eight bytes with the length of a JSON header, the header, and the numbers in its order. NumPy has no
    bfloat16: it is written as the upper half of a float32.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, sizes, _ in tensors(shape, tokens):
        begin, end = end, end + 2 * prod(sizes)
        header[name] = {"dtype": "BF16", "shape": list(sizes), "data_offsets": [begin, end]}
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 8)
    random = np.random.default_rng(SEED)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(words)))
        file.write(words)
        for _, sizes, deviation in tensors(shape, tokens):
            file.write(_drawn(random, sizes, deviation).tobytes())


def _drawn(random: np.random.Generator, sizes: tuple[int, ...], deviation: float) -> NDArray[np.uint16]:
    if deviation == 0.0:
        numbers = np.ones(sizes, dtype=np.float32)
    else:
        numbers = random.standard_normal(sizes, dtype=np.float32) * np.float32(deviation)
    upper: NDArray[np.uint16] = (numbers.view(np.uint32) >> 16).astype("<u2")
    return upper


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if len(arguments) != 2 or arguments[0] not in SHAPES:
        print(f"usage: python -m tests.gpu.larger {{{','.join(SHAPES)}}} FOLDER", file=sys.stderr)
        return 2
    print(build(arguments[0], Path(arguments[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
