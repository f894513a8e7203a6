import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer, seed_everything

from qmm import Branch, MultimodalModel, load
from qmm.data import ScenesDataModule, VectorsDataModule
from qmm.decoders import ClassDecoder, MixedDecoder, SentenceDecoder
from qmm.encoders import LinearCompressor, TextEncoder, VectorEncoder, ViTEncoder
from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.metrics import named, sentence_metrics
from qmm.tasks import MultimodalCaptioning, MultimodalMixed
from qmm.training import RepeatableSteps
from qmm.types import Batch

MakeTrainer = Callable[..., Trainer]
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
LANGUAGE = {"model_type": "gpt2", "n_embd": 64, "n_layer": 1, "n_head": 2, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
PLACES = 3


def scenes(**changes: Any) -> ScenesDataModule:
    settings: dict[str, Any] = {"size": 192, "val_size": 96, "test_size": 0, "batch_size": 24, "captions": True}
    settings |= {"picture_size": 32, "sound_seconds": 0.5, "modalities": ["vision"]}
    return ScenesDataModule(**{**settings, **changes})


def few(**changes: Any) -> ScenesDataModule:
    return scenes(**{"size": 24, "val_size": 24, "batch_size": 12, "modalities": ["vision", "text"], "missing": 0.3, **changes})


def branches(*modalities: str) -> dict[str, Branch]:
    encoders: dict[str, Any] = {
        "vision": lambda: ViTEncoder({"image_size": 32, "patch_size": 8, **SMALL}, stem=[16, 32], pooling="mean"),
        "text": lambda: TextEncoder(SMALL, max_length=24),
    }
    return {modality: Branch(encoders[modality](), LinearCompressor(4), auxiliary=0.3) for modality in modalities}


def decoder(**settings: Any) -> SentenceDecoder:
    return SentenceDecoder(**{"language": LANGUAGE, "prefix": 2, "generation": {"max_new_tokens": 20}, **settings})


def task(*modalities: str, speaks: SentenceDecoder | None = None, **settings: Any) -> MultimodalCaptioning:
    seed_everything(0, verbose=False)
    model = MultimodalModel(QuantumFusion(2), speaks or decoder(), **branches(*modalities or ("vision", "text")))
    return MultimodalCaptioning(model, **{"learning_rate": 1e-2, "fusion_learning_rate": 3e-2, **settings})


class Taught:
    """A model that has learned to say what it sees, what it was scored by, and its checkpoint."""

    def __init__(self, folder: Path):
        quiet: dict[str, Any] = dict.fromkeys(
            ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
        )
        self.trainer = Trainer(
            max_epochs=25, accelerator="cpu", gradient_clip_val=1.0, check_val_every_n_epoch=25, log_every_n_steps=1, **quiet
        )
        self.task, self.data = task("vision"), scenes()
        self.trainer.fit(self.task, datamodule=self.data)
        self.scores = {name: float(score) for name, score in self.trainer.callback_metrics.items()}
        self.checkpoint = folder / "taught.ckpt"
        self.trainer.save_checkpoint(self.checkpoint)
        self.task.eval()

    def batches(self, data: ScenesDataModule | None = None) -> Iterator[Batch]:
        loader: Any = (data or self.data).val_dataloader()
        yield from loader

    def say(self, batch: Batch) -> list[str]:
        with torch.no_grad():
            return self.task.model.decoder.score(self.task(batch).prediction)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return Taught(tmp_path_factory.mktemp("taught"))


class TestLearning:
    def test_what_is_seen_is_named(self, taught: Taught) -> None:
        assert taught.scores["val/grounding_place"] > 2 / PLACES
        # neither what is heard nor the time is seen: of the two events of a place, and of two times, one guess is right
        assert taught.scores["val/grounding"] < 0.5
        assert taught.scores["train/loss"] > 0

    def test_metrics_are_those_of_all_sentences(self, taught: Taught) -> None:
        seen = list(taught.batches())
        sentences = [sentence for batch in seen for sentence in taught.say(batch)]
        references = [row for batch in seen for row in batch.targets["references"]]
        facts = [row for batch in seen for row in batch.targets["facts"]]
        expected = sentence_metrics(sentences, references, facts, taught.data.words)
        assert {
            f"val/{name}": pytest.approx(score, abs=1e-6) for name, score in expected.items()
        }.items() <= taught.scores.items()

    def test_perplexity_is_over_all_tokens(self, taught: Taught) -> None:
        speaks: Any = taught.task.model.decoder
        with torch.no_grad():
            losses = [speaks.token_losses(taught.task(batch).prediction, batch.targets) for batch in taught.batches()]
        nll, tokens = (torch.cat(column).sum() for column in zip(*losses, strict=True))
        assert taught.scores["val/perplexity"] == pytest.approx(math.exp(nll / tokens), rel=1e-5)

    def test_the_headline_is_grounding(self, taught: Taught) -> None:
        assert "val/grounding" in taught.trainer.progress_bar_metrics
        assert "val/cider" not in taught.trainer.progress_bar_metrics

    def test_a_checkpoint_says_the_same(self, taught: Taught) -> None:
        again = load(taught.checkpoint)
        batch = next(taught.batches())
        with torch.no_grad():
            assert again.model.decoder.score(again(batch).prediction) == taught.say(batch)
        assert again.model.decoder.tokenizer.json == taught.task.model.decoder.tokenizer.json  # type: ignore[union-attr]

    def test_resumed_is_as_uninterrupted(self, make_trainer: MakeTrainer, tmp_path: Path) -> None:
        """Also the references, of which one is drawn each time."""

        class Stop(Callback):
            def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
                if trainer.current_epoch == 1:
                    trainer.save_checkpoint(tmp_path / "half.ckpt")
                    trainer.should_stop = True

        def fit(*callbacks: Callback, **settings: Any) -> MultimodalCaptioning:
            own = task()
            trainer = make_trainer(RepeatableSteps(1), *callbacks, epochs=3, num_sanity_val_steps=0)
            trainer.fit(own, datamodule=few(), **settings)
            scores.append({name: float(score) for name, score in trainer.callback_metrics.items() if name.startswith("val/")})
            return own

        scores: list[dict[str, float]] = []
        whole, _, resumed = fit(), fit(Stop()), fit(ckpt_path=str(tmp_path / "half.ckpt"), weights_only=True)
        for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
            assert torch.equal(a, b), name
        assert scores[0] == scores[2]


class Guarded(Mapping[str, Any]):
    """Targets that nobody may look at."""

    def __getitem__(self, name: str) -> Any:
        raise AssertionError(f"somebody looked at the target {name!r}")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("somebody looked at the targets")

    def __len__(self) -> int:
        return 2


class TestLeakage:
    def test_generation_never_sees_a_reference(self, taught: Taught) -> None:
        batch = next(taught.batches())
        said = taught.say(batch)
        nonsense = [["zebra zebra"]] * len(batch.ids)
        assert taught.say(batch._replace(targets={"references": nonsense, "facts": [{}] * len(batch.ids)})) == said
        assert taught.say(batch._replace(targets=Guarded())) == said
        predicted = taught.task.predict_step(batch._replace(targets={}), 0)
        assert [one.sentence for one in predicted] == said

    def test_what_is_scored_is_what_was_said(self, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
        """The references that a validation compares with do not change what it compares."""
        batch = next(taught.batches())
        other = batch._replace(targets={**batch.targets, "references": [["zebra"]] * len(batch.ids)})
        said: list[list[str]] = []
        metrics: Any = taught.task.metrics["val_"]
        monkeypatch.setattr(metrics["generated"], "update", lambda sentences, *_: said.append(list(sentences)))
        for one in (batch, other):
            with torch.no_grad():
                output = taught.task(one)
                taught.task.update_metrics(metrics, taught.task.model.decoder.score(output.prediction), one, output)
        metrics["perplexity"].reset()
        assert said[0] == said[1] == taught.say(batch)

    def test_shuffled_pictures_destroy_grounding(self, taught: Taught) -> None:
        shuffled = scenes(shuffled=["vision"])
        shuffled.connect({"vision": taught.task.model.branches["vision"].encoder.preprocess})
        shuffled.setup("validate")
        right = [
            named(sentence, taught.data.words["place"]) == [facts["place"]]  # type: ignore[index]
            for batch in taught.batches(shuffled)
            for sentence, facts in zip(taught.say(batch), batch.targets["facts"], strict=True)
        ]
        assert len(right) == 96
        assert sum(right) / len(right) < 1.3 / PLACES
        assert taught.scores["val/grounding_place"] > sum(right) / len(right) + 0.25

    def test_a_missing_picture_has_no_influence(self, make_trainer: MakeTrainer) -> None:
        own, data = task(), few(missing=0)
        trainer = make_trainer(epochs=3)
        trainer.fit(own, datamodule=data)
        own.eval()
        batch: Batch = next(iter(data.val_dataloader()))
        there = torch.arange(len(batch.ids)) % 2 == 0
        half = batch._replace(present={**batch.present, "vision": there})
        pictures: Any = batch.inputs["vision"]
        noise = pictures._replace(values=torch.where(there[:, None, None, None], pictures.values, 17.0))
        heard = batch._replace(inputs={**batch.inputs, "vision": None}, present={**batch.present, "vision": there & False})
        with torch.no_grad():
            both, mixed, noisy, alone = (
                own(b).prediction.embeddings
                for b in (batch, half, half._replace(inputs={**batch.inputs, "vision": noise}), heard)
            )
        assert torch.equal(mixed, noisy)
        torch.testing.assert_close(mixed[there], both[there])
        torch.testing.assert_close(mixed[~there], alone[~there])
        assert not torch.allclose(mixed[~there], both[~there], atol=1e-3)
        (scores,) = trainer.validate(own, datamodule=few(missing=0.5), verbose=False)
        assert scores["val/perplexity"] > 1


class TestValidation:
    def test_beams_wait_for_the_test_and_sentences_may_be_few(
        self, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        speaks = decoder(generation={"strategy": "beam", "beams": 2, "max_new_tokens": 6})
        own = task(speaks=speaks, validation_sentences=13)
        made: list[tuple[bool, str, int]] = []
        score = SentenceDecoder.score

        def counted(self: SentenceDecoder, outputs: Any) -> list[str]:
            made.append((trainer.state.fn == "fit", self.generation.strategy, len(outputs.prompts)))
            return score(self, outputs)

        monkeypatch.setattr(SentenceDecoder, "score", counted)
        trainer = make_trainer(epochs=2, num_sanity_val_steps=0)
        trainer.fit(own, datamodule=few(val_size=36, missing=0))
        assert made == [(True, "greedy", 12)] * 4  # two of three batches, twice
        assert {"val/cider", "val/grounding", "val/perplexity"} <= set(trainer.callback_metrics)
        made.clear()
        trainer.validate(own, datamodule=few(val_size=36, missing=0), verbose=False)
        assert made == [(False, "beam", 12)] * 3

    def test_none_at_all(self, make_trainer: MakeTrainer) -> None:
        trainer = make_trainer()
        trainer.fit(task(validation_sentences=0), datamodule=few())
        assert {name for name in trainer.callback_metrics if name.startswith("val/")} == {"val/loss", "val/perplexity"}

    def test_answers(self, make_trainer: MakeTrainer) -> None:
        """Questions are known to the tokenizer; an answer is to name what was asked."""
        own, data = task("vision"), few(questions=True, captions=False, modalities=["vision"], missing=0)
        trainer = make_trainer()
        trainer.fit(own, datamodule=data)
        assert "val/exact_match" in trainer.callback_metrics
        assert "val/grounding" in trainer.progress_bar_metrics
        tokenizer: Any = own.model.decoder.tokenizer
        for question in data.prompts:
            assert tokenizer.decode(tokenizer.encode(question)).strip() == question
        (batch, *_) = data.val_dataloader()
        truths = [row[0] for row in batch.targets["references"]]
        scores = sentence_metrics(truths, batch.targets["references"], batch.targets["facts"], data.words, batch.prompts)
        assert scores["grounding"] == scores["exact_match"] == 1


class TestLearningRates:
    def groups(self, own: Any, make_trainer: MakeTrainer, **settings: Any) -> dict[str, dict[str, Any]]:
        make_trainer(max_steps=1, limit_val_batches=0).fit(own, datamodule=few(**settings))
        groups = own.optimizers().param_groups
        everything = [id(p) for group in groups for p in group["params"]]
        assert len(everything) == len(set(everything)) == sum(p.requires_grad for p in own.parameters())
        return {group["name"]: group for group in groups}

    def test_the_language_model_has_its_own(self, make_trainer: MakeTrainer) -> None:
        speaks = decoder(attend=True)
        groups = self.groups(task(speaks=speaks, language_learning_rate=1e-4), make_trainer)
        assert groups["language_matrices"]["initial_lr"] == groups["language_vectors"]["initial_lr"] == 1e-4
        assert groups["matrices"]["initial_lr"] == 1e-2
        assert groups["fusion"]["initial_lr"] == 3e-2
        language = {id(p) for name in ("language_matrices", "language_vectors") for p in groups[name]["params"]}
        assert language == {id(p) for p in speaks.language.parameters()}
        gates = {id(p) for p in speaks.cross.parameters()}
        assert gates <= {id(p) for name in ("matrices", "vectors") for p in groups[name]["params"]}

    def test_without_it_is_an_encoder_among_others(self, make_trainer: MakeTrainer) -> None:
        assert set(self.groups(task(), make_trainer)) == {"matrices", "vectors", "fusion"}

    def test_in_mixed_tasks_too(self, make_trainer: MakeTrainer) -> None:
        seed_everything(0, verbose=False)
        parts = {"scene": ClassDecoder(few().classes), "sentence": decoder()}
        model = MultimodalModel(QuantumFusion(2), MixedDecoder(parts), **branches("vision", "text"))
        groups = self.groups(MultimodalMixed(model, language_learning_rate=1e-4), make_trainer)
        assert groups["sentence_language_matrices"]["initial_lr"] == 1e-4


class TestBadInput:
    def test_another_decoder(self) -> None:
        model = MultimodalModel(QuantumFusion(1), ClassDecoder(["a", "b"]), **branches("vision"))
        with pytest.raises(InputError, match="MultimodalCaptioning needs a SentenceDecoder, got ClassDecoder"):
            MultimodalCaptioning(model)

    def test_data_without_sentences(self, make_trainer: MakeTrainer) -> None:
        with pytest.raises(InputError, match="ScenesDataModule has no sentences to learn from; say where they stand"):
            make_trainer().fit(task(), datamodule=few(captions=False))

    def test_no_tokenizer(self, make_trainer: MakeTrainer) -> None:
        with pytest.raises(InputError, match="has no tokenizer yet"):
            make_trainer().validate(task(), datamodule=few(), verbose=False)
        data = few()
        own = task()
        data.connect({modality: branch.encoder.preprocess for modality, branch in own.model.branches.items()})
        data.setup("fit")
        with pytest.raises(InputError, match=r"there is no data module .* call `decoder.fit\(sentences\)`"):
            make_trainer().fit(own, data.train_dataloader(), data.val_dataloader())

    def test_numbers(self) -> None:
        with pytest.raises(InputError, match="validation_sentences=-1: expected at least 0"):
            task(validation_sentences=-1)

    def test_answers_are_not_blended(self, make_trainer: MakeTrainer) -> None:
        data = few(questions=True, captions=False, modalities=["vision"], missing=0)
        with pytest.raises(InputError, match="samples with prompts cannot be blended"):
            make_trainer().fit(task("vision", mixup=1.0), datamodule=data)

    def test_captions_may_be_blended(self, make_trainer: MakeTrainer) -> None:
        trainer = make_trainer(limit_val_batches=0)
        trainer.fit(task("vision", mixup=1.0), datamodule=few(modalities=["vision"], missing=0))
        assert trainer.callback_metrics["train/loss"].isfinite()

    def test_features_without_sentences(self, make_trainer: MakeTrainer, tmp_path: Path) -> None:
        split = np.array(["train"] * 8 + ["val"] * 4)
        np.savez(tmp_path / "v.npz", x=np.ones((12, 3)), label=np.arange(12) % 2, split=split)
        model = MultimodalModel(QuantumFusion(1), decoder(), others={"x": Branch(VectorEncoder(3), LinearCompressor(2))})
        data = VectorsDataModule(str(tmp_path / "v.npz"), {"x": "x"}, classes=["a", "b"])
        with pytest.raises(InputError, match="VectorsDataModule has no sentences"):
            make_trainer().fit(MultimodalCaptioning(model), datamodule=data)
