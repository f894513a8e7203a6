"""Causal language models of transformers: made from a few fields, or read from a folder or the hub, and checked."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PretrainedConfig

from qmm.errors import InputError
from qmm.language.tokenizer import TRAINED_IDS, SentenceTokenizer
from qmm.pretrained import load_config, load_model
from qmm.suggestions import did_you_mean

SMALL = {"model_type": "gpt2", "n_embd": 96, "n_layer": 3, "n_head": 4, "n_positions": 128}
"""What `language` may leave unsaid: some 0.4 million parameters and 512 tokens."""
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "qkv_proj", "c_attn", "query_key_value", "Wqkv")
"""The projections of attention, as the families of models call them."""


def from_fields(fields: Mapping[str, Any] | None, tokenizer: SentenceTokenizer | None, vocabulary: int) -> Any:
    """A model with random weights. `fields`: `model_type` and fields of its configuration.

    It has as many tokens as `tokenizer`, or `vocabulary` of them where that is still to come. Raises InputError for a type or
    a field that transformers does not know, and for fields that make no model.
    """
    given = {**SMALL, **(fields or {})} if (fields or {}).get("model_type", "gpt2") == "gpt2" else dict(fields or {})
    kind = given.pop("model_type")
    try:
        known = AutoConfig.for_model(kind)
    except (ValueError, KeyError) as error:
        raise InputError(f"language: transformers knows no model_type={kind!r}") from error
    for name in given:
        if not hasattr(known, name):
            near = did_you_mean(name, list(known.to_dict()))
            raise InputError(f"language: a {kind} configuration of transformers has no field {name!r}{near}")
    special = TRAINED_IDS if tokenizer is None else special_ids(tokenizer)
    given = {"vocab_size": vocabulary if tokenizer is None else len(tokenizer), **special, **given}
    try:
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **given))
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, RuntimeError, AssertionError) as error:
        raise InputError(f"language: no causal language model can be made of {fields}: {error}") from error
    return checked(model, "language", tokenizer)


def from_source(source: str, fields: Mapping[str, Any] | None, tokenizer: SentenceTokenizer) -> Any:
    """The model in a folder or on the hub, in float32; `fields` override its configuration.

    Raises InputError when it cannot be read, is not in safetensors, lacks weights, brings code of its own, is not causal, or
    when `tokenizer` does not fit it.
    """
    config = load_config(AutoConfig, source, fields or {})
    ends = ends_of(config)
    if ends and tokenizer.end not in ends:
        raise InputError(
            f"pretrained={source!r}: its model ends a text with token {' or '.join(map(str, sorted(ends)))}, but the tokenizer "
            f"with {tokenizer.end}; give the tokenizer it was trained with, or, if this one is meant, "
            f"`language: {{eos_token_id: {tokenizer.end}}}`"
        )
    model = load_model(AutoModelForCausalLM, source, config)
    for name, number in special_ids(tokenizer).items():
        if name != "eos_token_id" or not ends:
            setattr(model.config, name, number)
    return checked(model, f"pretrained={source!r}", tokenizer)


def special_ids(tokenizer: SentenceTokenizer) -> dict[str, int]:
    """By the names that configurations have for them."""
    return {"eos_token_id": tokenizer.end, "bos_token_id": tokenizer.begin, "pad_token_id": tokenizer.pad}


def ends_of(config: PretrainedConfig) -> set[int]:
    """The tokens that end a text by a configuration; none where it names no token that it has."""
    ends = config.eos_token_id
    numbers = ends if isinstance(ends, list | tuple) else [] if ends is None else [ends]
    return {number for number in numbers if number < config.vocab_size}


def checked(model: Any, called: str, tokenizer: SentenceTokenizer | None) -> Any:
    """The model, if it reads embeddings from left to right and has a token for each of the tokenizer's."""
    if tokenizer is not None and len(tokenizer) > (size := model.get_input_embeddings().num_embeddings):
        raise InputError(
            f"{called}: the tokenizer has {len(tokenizer)} tokens, the model embeddings for {size}; "
            "give the tokenizer that belongs to the model"
        )
    model.generation_config = GenerationConfig()  # what a folder's own says is not ours: `Generation` decides
    table = model.get_input_embeddings().weight
    pair = torch.stack([table[[0, 1, 2]], table[[0, 1, 3]]]).detach()  # they differ in the third token alone
    was = model.training
    try:
        with torch.no_grad():
            logits = model.eval()(inputs_embeds=pair, attention_mask=torch.ones(2, 3, dtype=torch.long)).logits[:, :2]
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{called}: a {type(model).__name__} cannot be driven by embeddings: {error}") from error
    finally:
        model.train(was)
    if not torch.allclose(logits[0], logits[1], rtol=1e-4, atol=1e-5):
        raise InputError(f"{called}: a {type(model).__name__} reads ahead; expected a causal language model")
    return model


def context_length(model: Any) -> int | None:
    """How many positions the model has; None where it has no limit of its own."""
    limits = [getattr(model.config, name, None) for name in ("max_position_embeddings", "max_seq_len", "seq_length")]
    return next((int(limit) for limit in limits if limit), None)


def blocks_of(model: Any) -> nn.ModuleList:
    """The model's layers, in their order. Raises InputError where they are not to be found."""
    count = model.config.num_hidden_layers
    found = (m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count)
    layers = next(found, None)
    if layers is None:
        raise InputError(f"attend: a {type(model).__name__} does not keep its {count} layers in a list; leave `attend` out")
    return layers
