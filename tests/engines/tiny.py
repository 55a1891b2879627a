"""A Llama so small that every engine serves it on a CPU, made here and not downloaded: as a Hugging Face folder and as GGUF.

It has learned nothing. Its weights are random numbers of a fixed seed, the same in both forms, and each of them is a
bfloat16 exactly, so no engine rounds them. What it says is no language, but it is the same in every engine: greedy
answers can be compared between engines word for word.

    python -m tests.engines.tiny FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[np.float32]]

CONTEXT = 2048
HIDDEN = 64
FEED_FORWARD = 128
LAYERS = 2
HEADS = 2
KEY_VALUE_HEADS = 1
# vLLM's attention on a CPU takes no heads smaller than 32.
HEAD_SIZE = 32
NORM_EPSILON = 1e-5
ROPE_THETA = 10000.0
SEED = 20250101
LEARNED_TOKENS = 504

BEGIN, END, HEADER, HEADER_END, END_OF_TURN = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
SPECIAL = (BEGIN, END, HEADER, HEADER_END, END_OF_TURN)

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

# What the tokenizer is trained on: words of the tasks' prompts, letters, digits and the characters of JSON.
SENTENCES = (
    "Does the premise entail the hypothesis? Answer with entailment, neutral or contradiction.",
    "entailment neutral contradiction entailment neutral contradiction entailment neutral contradiction",
    " entailment, neutral, contradiction. entailment; neutral; contradiction: entailment neutral contradiction",
    "The patient was admitted with fever and cough, and the chest film showed a pneumonia of the left lower lobe.",
    "The patient denies chest pain, shortness of breath, nausea and vomiting. The patient has no fever.",
    "He was given aspirin and a statin and was discharged home in a stable condition with follow-up in two weeks.",
    "She has a history of hypertension, diabetes mellitus and chronic kidney disease, stage 3.",
    "Question: which of the following is the most likely diagnosis? A) anaemia B) sepsis C) asthma D) stroke E) gout",
    "Answer: A. Answer: B. Answer: C. Answer: D. Answer: E. The answer is yes. The answer is no. Yes. No. yes no",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
    "0 1 2 3 4 5 6 7 8 9 10 12 20 37.5 99 100 120/80 2024 0123456789",
    '{"answer": "entailment", "reason": "the same finding", "codes": ["I10", "J18.9", "E11.9"], "sure": true}',
    '{"label": null, "score": 0.5, "list": [1, 2, 3], "sure": false}',
    "system user assistant system user assistant You are a helpful assistant. Answer briefly and do not explain.",
)


@dataclass(frozen=True)
class Tiny:
    """Where the model lies: `folder` for vLLM and transformers, `gguf` for llama.cpp."""

    folder: Path
    gguf: Path


def build(folder: Path, *, template: bool = True) -> Tiny:
    """Write both forms into `folder`; without `template` neither has a chat template."""
    tiny = Tiny(folder / "hf", folder / "tiny.gguf")
    tokenizer = trained_tokenizer()
    weights = random_weights(_likely_tokens(tokenizer))
    chat_template = TEMPLATE if template else None
    _write_hugging_face(tiny.folder, tokenizer, weights, chat_template)
    _write_gguf(tiny.gguf, tokenizer, weights, chat_template)
    return tiny


def trained_tokenizer() -> Any:
    """A byte-level BPE tokenizer in GPT-2's way, trained on `SENTENCES`, with Llama 3's special tokens at its end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNED_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    # Whole words become tokens only if they are frequent enough.
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    return tokenizer


def _likely_tokens(tokenizer: Any) -> NDArray[np.bool_]:
    """Which tokens the model may come to say: printable text and the end of a turn.

    Pieces of a character are left out, since engines differ in how they show what is no UTF-8.
    """
    texts = [tokenizer.decode([token], skip_special_tokens=False) for token in range(tokenizer.get_vocab_size())]
    return np.array(
        [text == END_OF_TURN or (text not in SPECIAL and text.isascii() and text.isprintable()) for text in texts]
    )


def random_weights(likely: NDArray[np.bool_]) -> Weights:
    """The model's tensors by their Hugging Face names, drawn with `SEED`; shapes are (outputs, inputs).

    Queries and keys are large, so that attention looks at few places and an answer depends on the whole prompt. A token
    that is not `likely` has a row of zeros in the head: its logit is 0, never the largest.
    """
    random = np.random.default_rng(SEED)

    def drawn(outputs: int, inputs: int, gain: float = 1.0) -> NDArray[np.float32]:
        return _bfloat16(random.standard_normal((outputs, inputs)) * gain / np.sqrt(inputs))

    ones = np.ones(HIDDEN, dtype=np.float32)
    weights = {"model.embed_tokens.weight": drawn(len(likely), HIDDEN, gain=np.sqrt(HIDDEN))}
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        weights |= {
            f"{name}.input_layernorm.weight": ones,
            f"{name}.self_attn.q_proj.weight": drawn(HEADS * HEAD_SIZE, HIDDEN, gain=2.0),
            f"{name}.self_attn.k_proj.weight": drawn(KEY_VALUE_HEADS * HEAD_SIZE, HIDDEN, gain=2.0),
            f"{name}.self_attn.v_proj.weight": drawn(KEY_VALUE_HEADS * HEAD_SIZE, HIDDEN, gain=1.5),
            f"{name}.self_attn.o_proj.weight": drawn(HIDDEN, HEADS * HEAD_SIZE, gain=1.5),
            f"{name}.post_attention_layernorm.weight": ones,
            f"{name}.mlp.gate_proj.weight": drawn(FEED_FORWARD, HIDDEN, gain=1.5),
            f"{name}.mlp.up_proj.weight": drawn(FEED_FORWARD, HIDDEN, gain=1.5),
            f"{name}.mlp.down_proj.weight": drawn(HIDDEN, FEED_FORWARD, gain=1.5),
        }
    head = drawn(len(likely), HIDDEN, gain=3.0) * likely[:, None]
    return weights | {"model.norm.weight": ones, "lm_head.weight": head}


def _bfloat16(numbers: NDArray[np.float64]) -> NDArray[np.float32]:
    """Numbers with the last 16 bits of their float32 cut off: what bfloat16 holds exactly."""
    bits = np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def _write_hugging_face(folder: Path, tokenizer: Any, weights: Weights, template: str | None) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    begin, end, end_of_turn = (tokenizer.token_to_id(token) for token in (BEGIN, END, END_OF_TURN))
    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    ends = {"bos_token_id": begin, "eos_token_id": [end, end_of_turn]}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_THETA,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        **ends,
    }
    # As in Llama 3's repository: an engine that takes these for its defaults samples where nothing was asked for.
    generation = {**ends, "do_sample": True, "temperature": 0.6, "top_p": 0.9}
    tokenizing = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END_OF_TURN,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        **({"chat_template": template} if template else {}),
    }
    for name, content in (
        ("config.json", config),
        ("generation_config.json", generation),
        ("tokenizer_config.json", tokenizing),
    ):
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


_GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_GGUF_OUTER_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def _gguf_name(name: str) -> str:
    if name in _GGUF_OUTER_NAMES:
        return _GGUF_OUTER_NAMES[name]
    layer, _, part = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    return f"blk.{layer}.{_GGUF_NAMES[part]}.weight"


def _permuted(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows in the order llama.cpp rotates them: pairs side by side, where Hugging Face has them half a head apart."""
    outputs, inputs = weight.shape
    return weight.reshape(heads, 2, outputs // heads // 2, inputs).swapaxes(1, 2).reshape(outputs, inputs)


def _write_gguf(path: Path, tokenizer: Any, weights: Weights, template: str | None) -> None:
    import gguf

    model = json.loads(tokenizer.to_str())["model"]
    tokens = [tokenizer.id_to_token(token) for token in range(tokenizer.get_vocab_size())]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(tokens.index(BEGIN))
    writer.add_eos_token_id(tokens.index(END))
    writer.add_eot_token_id(tokens.index(END_OF_TURN))
    writer.add_add_bos_token(True)
    if template:
        writer.add_chat_template(template)
    heads = {"q_proj": HEADS, "k_proj": KEY_VALUE_HEADS}
    for name, weight in weights.items():
        part = name.split(".")[-2]
        writer.add_tensor(_gguf_name(name), _permuted(weight, heads[part]) if part in heads else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
