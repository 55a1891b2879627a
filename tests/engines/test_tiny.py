"""The tiny model itself, no engine needed: the same every time, and the same in both its forms."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.engines.tiny import HEAD_SIZE, HEADS, SPECIAL, TEMPLATE, Tiny, build, trained_tokenizer


def test_the_model_is_built_the_same_every_time(tiny: Tiny, tmp_path: Path) -> None:
    again = build(tmp_path)
    assert again.gguf.read_bytes() == tiny.gguf.read_bytes()
    written = [path.name for path in sorted(tiny.folder.iterdir())]
    assert written == [path.name for path in sorted(again.folder.iterdir())]
    assert [name for name in written if (again.folder / name).read_bytes() != (tiny.folder / name).read_bytes()] == []


def test_both_forms_hold_the_same_weights(tiny: Tiny) -> None:
    here = load_file(tiny.folder / "model.safetensors")
    there = {tensor.name: np.asarray(tensor.data) for tensor in gguf.GGUFReader(tiny.gguf).tensors}
    assert sorted(weight.size for weight in here.values()) == sorted(weight.size for weight in there.values())
    assert np.array_equal(there["output.weight"], here["lm_head.weight"])
    assert np.array_equal(there["blk.1.ffn_down.weight"], here["model.layers.1.mlp.down_proj.weight"])
    # The same rows in another order: pairs that are turned together stand side by side.
    query = here["model.layers.0.self_attn.q_proj.weight"].reshape(HEADS, HEAD_SIZE, -1)
    turned = there["blk.0.attn_q.weight"].reshape(HEADS, HEAD_SIZE, -1)
    assert np.array_equal(turned[:, 0::2], query[:, : HEAD_SIZE // 2])
    assert np.array_equal(turned[:, 1::2], query[:, HEAD_SIZE // 2 :])


def test_every_weight_is_a_bfloat16(tiny: Tiny) -> None:
    for name, weight in load_file(tiny.folder / "model.safetensors").items():
        assert not (weight.view(np.uint32) & 0xFFFF).any(), name


@pytest.mark.parametrize("text", ["fever and cough", " 37.5 °C\n\n🩺", "entailment", *SPECIAL])
def test_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = trained_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_a_special_token_is_one_token_and_a_label_is_one() -> None:
    tokenizer = trained_tokenizer()
    for text in (*SPECIAL, "entailment", " neutral", " contradiction"):
        assert len(tokenizer.encode(text, add_special_tokens=False).ids) == 1, text


def test_without_a_template_there_is_none_in_either_form(tiny: Tiny, tiny_without_template: Tiny) -> None:
    assert templates_of(tiny) == [TEMPLATE, TEMPLATE]
    assert templates_of(tiny_without_template) == [None, None]


def templates_of(tiny: Tiny) -> list[str | None]:
    field = gguf.GGUFReader(tiny.gguf).get_field("tokenizer.chat_template")
    tokenizing = json.loads((tiny.folder / "tokenizer_config.json").read_text("utf-8"))
    return [tokenizing.get("chat_template"), field and field.contents()]
