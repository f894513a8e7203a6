"""Tiny language models with random weights, saved as folders as anybody's are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from qmm.language import SentenceTokenizer

SENTENCES = [
    "a dog barks in the yard", "waves break on the beach", "a train passes at night", "rain falls on the roof",
    "the sea is calm and a bell rings", "somebody walks through the forest", "snow lies on the mountains, and it is quiet",
]  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 48, "max_position_embeddings": 64,
    },
    "qwen2": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 48, "max_position_embeddings": 64, "tie_word_embeddings": True,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    return SENTENCES


@pytest.fixture(scope="session")
def tokenizer() -> SentenceTokenizer:
    return SentenceTokenizer.train(SENTENCES, 300)


@pytest.fixture(scope="session")
def folder_of(tokenizer: SentenceTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`folder_of("llama", vocab_size=...)`: a folder of a tiny model of that family, with its tokenizer."""
    made: dict[str, Path] = {}

    def make(family: str, **fields: Any) -> Path:
        key = f"{family} {sorted(fields.items())}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp(family)
            special = {"eos_token_id": tokenizer.end, "bos_token_id": tokenizer.begin, "pad_token_id": tokenizer.pad}
            config = AutoConfig.for_model(
                family, **{"vocab_size": len(tokenizer), **special, "initializer_range": 0.2, **FAMILIES[family], **fields}
            )
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(made[key])
            fast = PreTrainedTokenizerFast(
                tokenizer_object=tokenizer._backend, eos_token="<|end|>", bos_token="<|end|>", pad_token="<|pad|>"
            )
            fast.save_pretrained(made[key])
        return made[key]

    return make
