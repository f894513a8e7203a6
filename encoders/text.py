"""Text: token ids (B, T) -> Features, through a transformer encoder of transformers or open_clip's text tower."""

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from qmm.errors import InputError
from qmm.pretrained import architecture_of, load_config, load_model, read_json, told_plainly, without_pooler
from qmm.tuning import Tuning
from qmm.types import Features

from ._library import LibraryEncoder, check_choice, length_mask, masked_mean
from ._openclip import named_architecture, pretrained_model, random_tower
from .preprocess import OpenClipTextPreprocess, TextPreprocess

_SMALL = {
    "model_type": "bert", "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 192,
    "max_position_embeddings": 256, "pad_token_id": 0,
}  # fmt: skip
_BYTE_VOCABULARY = 384  # of ByT5: 3 special tokens, 256 bytes, 125 unused
_SMALL_CLIP = {"embed_dim": 96, "width": 96, "heads": 4, "layers": 3, "mlp_ratio": 2.0, "context_length": 77}
_CLIP_OWN = {
    "hf_model_name": None,
    "hf_tokenizer_name": None,
    "tokenizer_kwargs": None,
    "embed_cls": False,
    "pool_type": "argmax",
}
_POOLINGS = ("mean", "cls", "max")


class TextEncoder(LibraryEncoder):
    """A BERT-like encoder of transformers, or a sentence-transformer folder with its own pooling (arXiv:1908.10084).

    Args:
        architecture: `model_type` (default "bert") and fields of its configuration; the rest is a small model (3 layers of
            width 96), or, with `pretrained`, the configuration that comes with the weights.
        pretrained: Hub name or local folder of weights in safetensors.
        tokenizer: Hub name or local folder (default: that of the weights; without weights, the bytes of the text).
        tokenizer_json: The content of a `tokenizer.json` instead.
        max_length: Longest text in tokens, special ones included; the rest is cut (default: what the model can take).
        pooling: "mean", "cls" or "max" over real tokens (default: what the folder says, else "mean").
        normalize: Whether pooled features have length 1 (default: what the folder says, else not).
        tuning: What is trained: "full", "frozen" or "lora".
        lora: With tuning="lora": r, alpha, dropout, target_modules (default: the query and value projections), ...
    """

    lora_targets: ClassVar[list[str]] = ["query", "value", "q_proj", "v_proj", "q_lin", "v_lin", "attn.q", "attn.v", "Wqkv"]

    def __init__(
        self,
        architecture: dict[str, Any] | None = None,
        pretrained: str | None = None,
        tokenizer: str | None = None,
        tokenizer_json: str | None = None,
        max_length: int | None = None,
        pooling: Literal["mean", "cls", "max"] | None = None,
        normalize: bool | None = None,
        tuning: Tuning = "full",
        lora: dict[str, Any] | None = None,
    ):
        super().__init__()
        if tokenizer is not None and tokenizer_json is not None:
            raise InputError("tokenizer and tokenizer_json are both given; give one of them")
        source = tokenizer or (pretrained if tokenizer_json is None else None)
        self.tokenizer_json = _tokenizer_json(source) if source else tokenizer_json
        own: dict[str, Any] = {}
        if pretrained is None:
            self.model = without_pooler(AutoModel.from_config(_text_config(architecture, self.tokenizer_json)))
        else:
            self.model = load_model(AutoModel, pretrained, load_config(AutoConfig, pretrained, architecture or {}))
            own = _sentence_settings(pretrained)
        self.pooling = pooling or own.get("pooling", "mean")
        check_choice("pooling", self.pooling, _POOLINGS)
        self.normalize = own.get("normalize", False) if normalize is None else normalize
        self.max_length = _max_length(max_length, own.get("max_length"), self.model.config)
        self.tune(tuning, lora)
        self.dim = self.model.config.hidden_size

    @property
    def preprocess(self) -> TextPreprocess:
        return TextPreprocess(self.max_length, self.tokenizer_json)

    def resolved_arguments(self) -> dict[str, Any]:
        return {
            "architecture": architecture_of(self.model.config),
            "pretrained": None,
            "tokenizer": None,
            "tokenizer_json": self.tokenizer_json,
            "max_length": self.max_length,
            "pooling": self.pooling,
            "normalize": self.normalize,
        }

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Features:
        """(B, T) int64, (B,) -> pooled (B, D) and every token; what stands beyond a row's length is never read."""
        mask = length_mask(lengths, values)
        ids = torch.where(mask, values, self.model.config.pad_token_id or 0)  # RoBERTa counts positions by it
        tokens = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        pooled = _pooled(tokens, mask, self.pooling)
        return Features(F.normalize(pooled, dim=-1) if self.normalize else pooled, tokens, mask)


def _pooled(tokens: Tensor, mask: Tensor, pooling: str) -> Tensor:
    if pooling == "mean":
        return masked_mean(tokens, mask)
    return tokens[:, 0] if pooling == "cls" else tokens.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)


def _text_config(architecture: dict[str, Any] | None, tokenizer_json: str | None) -> Any:
    from tokenizers import Tokenizer

    needed = _BYTE_VOCABULARY if tokenizer_json is None else Tokenizer.from_str(tokenizer_json).get_vocab_size()
    fields = {**_SMALL, "vocab_size": needed, **(architecture or {})}
    kind = fields.pop("model_type")
    try:
        known = AutoConfig.for_model(kind)
    except (ValueError, KeyError) as error:
        raise InputError(f"architecture: transformers knows no model_type={kind!r}") from error
    if unknown := [name for name in fields if not hasattr(known, name)]:
        raise InputError(f"architecture: a {kind} configuration of transformers has no field {', '.join(unknown)}")
    config = AutoConfig.for_model(kind, **fields)
    if config.vocab_size < needed:
        raise InputError(f"architecture: vocab_size={config.vocab_size} is less than the {needed} tokens of the tokenizer")
    return config


def _max_length(given: int | None, own: int | None, config: Any) -> int:
    """What fits the position embeddings, of which RoBERTa and its kin leave the first pad_token_id + 1 unused."""
    reserved = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    limit = getattr(config, "max_position_embeddings", 512) - reserved
    if given is not None and not 2 <= given <= limit:
        raise InputError(f"max_length={given}: this model takes 2 to {limit} tokens")
    return given or min(own or limit, limit)


def _tokenizer_json(source: str) -> str:
    with told_plainly(source):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise InputError(
            f"{source}: its {type(tokenizer).__name__} has no tokenizer.json form; give a folder with a tokenizer.json"
        )
    return tokenizer.backend_tokenizer.to_str()


def _sentence_settings(source: str) -> dict[str, Any]:
    """Pooling, normalisation and length of a sentence-transformer folder; nothing for other folders."""
    modules = read_json(source, "modules.json")
    if not isinstance(modules, list):
        return {}
    kinds = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
    if unknown := set(kinds) - {"Transformer", "Pooling", "Normalize"}:
        raise InputError(f"{source}: modules.json names {', '.join(sorted(unknown))}; known: Transformer, Pooling, Normalize")
    lengths: Any = read_json(source, "sentence_bert_config.json") or {}
    found = {"normalize": "Normalize" in kinds, "max_length": lengths.get("max_seq_length")}
    if "Pooling" in kinds:
        found["pooling"] = _sentence_pooling(source, f"{kinds['Pooling']}/config.json")
    return found


def _sentence_pooling(source: str, filename: str) -> str:
    stored: Any = read_json(source, filename) or {}
    modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
    on = [name for name, value in stored.items() if name.startswith("pooling_mode_") and value is True]
    named = [stored["pooling_mode"]] if isinstance(stored.get("pooling_mode"), str) else [modes.get(name, name) for name in on]
    if len(named) != 1 or named[0] not in _POOLINGS:
        raise InputError(f"{source}: {filename} asks for pooling {named}; known is exactly one of {', '.join(_POOLINGS)}")
    return named[0]


class OpenClipTextEncoder(LibraryEncoder):
    """The text transformer of open_clip (arXiv:2103.00020); `dim` is the width of the joint space.

    Args:
        model: A model that open_clip knows, such as "ViT-B-32", or "local-dir:FOLDER", or "hf-hub:NAME"; without it, a
            small one (3 layers of width 96).
        architecture: `embed_dim`, `quick_gelu` and fields of `open_clip.CLIPTextCfg`; only without `pretrained`.
        pretrained: A tag of open_clip ("laion2b_s34b_b79k") or a local file. Folders and hub names bring theirs.
        tuning: What is trained: "full", "frozen" or "lora".
        lora: With tuning="lora": r, alpha, dropout, target_modules (default: the two layers of each MLP, since
            open_clip keeps query, key and value in one matrix), ...
    """

    lora_targets: ClassVar[list[str]] = ["c_fc", "c_proj"]

    def __init__(
        self,
        model: str | None = None,
        architecture: dict[str, Any] | None = None,
        pretrained: str | None = None,
        tuning: Tuning = "full",
        lora: dict[str, Any] | None = None,
    ):
        super().__init__()
        self._architecture = {**(named_architecture(model, "text_cfg") if model else _SMALL_CLIP), **(architecture or {})}
        if foreign := [k for k, usual in _CLIP_OWN.items() if self._architecture.get(k, usual) != usual]:
            raise InputError(
                f"this open_clip text tower is not CLIP's own, by its {', '.join(foreign)}; take TextEncoder for it"
            )
        if pretrained is not None or (model is not None and ":" in model):
            if model is None or architecture:
                raise InputError("pretrained weights of open_clip need `model`, and take no `architecture`")
            tower = pretrained_model(model, pretrained).text
        else:
            tower = random_tower(self._architecture, "text_cfg")
        tower.output_tokens = True
        self.model = tower
        self.tune(tuning, lora)
        self.dim = tower.output_dim

    @property
    def preprocess(self) -> OpenClipTextPreprocess:
        return OpenClipTextPreprocess(self.model.context_length)

    def resolved_arguments(self) -> dict[str, Any]:
        return {"model": None, "architecture": self._architecture, "pretrained": None}

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Features:
        """(B, T) int64, (B,) -> pooled (B, D) at the end of text, and every token, both in the joint space."""
        mask = length_mask(lengths, values)
        ids = torch.where(mask, values, self.model.pad_id)
        ids = F.pad(ids, (0, self.model.context_length - ids.shape[1]), value=self.model.pad_id)  # its causal mask has one size
        pooled, tokens = self.model(ids)
        projection = self.model.text_projection
        if projection is not None:
            tokens = projection(tokens) if callable(projection) else tokens @ projection
        return Features(pooled, tokens[:, : values.shape[1]], mask)
