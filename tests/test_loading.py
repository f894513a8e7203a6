import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from lightning import Trainer

from qmm import Branch, MultimodalModel, load
from qmm.config import to_config
from qmm.data import ScenesDataModule
from qmm.decoders import ClassDecoder
from qmm.encoders import LinearCompressor, TextEncoder
from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.loading import build
from qmm.tasks import MultimodalClassification

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


class Wider(LinearCompressor):
    """A user's own part."""


@pytest.fixture
def data() -> ScenesDataModule:
    return ScenesDataModule(size=24, val_size=12, test_size=12, batch_size=12, modalities=["text"])


@pytest.fixture
def save(make_trainer: Callable[..., Trainer], data: ScenesDataModule, tmp_path: Path) -> Callable[..., Path]:
    """Trains a task for an epoch and saves it."""

    def to_file(task: MultimodalClassification) -> Path:
        trainer = make_trainer(num_sanity_val_steps=0)
        trainer.fit(task, datamodule=data)
        trainer.save_checkpoint(tmp_path / "x.ckpt")
        return tmp_path / "x.ckpt"

    return to_file


def composed(data: ScenesDataModule, compressor: LinearCompressor) -> MultimodalClassification:
    text = Branch(TextEncoder(SMALL, max_length=32), compressor)
    return MultimodalClassification(
        MultimodalModel(QuantumFusion(1), ClassDecoder(data.classes), text=text), learning_rate=0.01
    )


def test_what_was_composed_in_python_comes_back(data: ScenesDataModule, save: Callable[..., Path]) -> None:
    task = composed(data, LinearCompressor(2))
    path = save(task)
    again = load(path)
    assert not again.training
    assert again.learning_rate == 0.01
    data.connect({"text": task.model.branches["text"].encoder.preprocess})
    batch = next(iter(data.test_dataloader()))
    with torch.no_grad():
        assert torch.equal(again(batch).prediction, task.eval()(batch).prediction)
    assert torch.load(path, weights_only=True)["qmm"]["data"]["class_path"] == "qmm.data.modules.ScenesDataModule"


def test_other_packages_need_consent(
    data: ScenesDataModule, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = ModuleType("my_lab")
    lab.Wider = Wider  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_lab", lab)
    monkeypatch.setattr(Wider, "__module__", "my_lab")
    path = save(composed(data, Wider(2)))
    with pytest.raises(InputError, match=r"wants to build my_lab\.Wider.*allow=\['my_lab'\]"):
        load(path)
    assert isinstance(load(path, allow=["my_lab"]).model.branches["text"].compressor, Wider)


@pytest.mark.parametrize("path", ["os.system", "subprocess.Popen", "builtins.eval", "qmm_evil.Thing", "torch.hub.load"])
def test_nothing_else_is_built(path: str) -> None:
    with pytest.raises(InputError, match="wants to build"):
        build({"class_path": path, "init_args": {}})


@pytest.mark.parametrize("path", ["qmm.loading.import_module", "qmm.loading.Path", "qmm.config.to_config", "torch.nn.Gone"])
def test_what_is_no_part_of_a_model_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="no part of a model"):
        build({"class_path": path, "init_args": {}})


def test_a_checkpoint_without_configuration_or_of_another_shape(
    data: ScenesDataModule, save: Callable[..., Path], tmp_path: Path
) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(InputError, match="carries no qmm configuration"):
        load(tmp_path / "foreign.ckpt")
    path = save(composed(data, LinearCompressor(2)))
    content = torch.load(path, weights_only=True)
    content["qmm"]["task"]["init_args"]["model"]["init_args"]["fusion"]["init_args"]["layers"] = 2
    torch.save(content, tmp_path / "changed.ckpt")
    with pytest.raises(InputError, match=r"fusion\.weights: model \(4,\), checkpoint \(2,\)"):
        load(tmp_path / "changed.ckpt")


def test_what_has_no_plain_form_is_refused_before_training(
    data: ScenesDataModule, make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = composed(data, LinearCompressor(2))
    monkeypatch.setattr(task.model.branches["text"].compressor, "config_arguments", lambda: {"features": print})
    monkeypatch.setattr(task, "training_step", lambda batch, batch_idx: pytest.fail("training began"))
    with pytest.raises(TypeError, match=r"LinearCompressor\.features"):
        make_trainer(num_sanity_val_steps=0).fit(task, datamodule=data)


def test_configuration_round_trip(data: ScenesDataModule) -> None:
    task = composed(data, LinearCompressor(2, gain=0.5))
    assert to_config(build(to_config(task))) == to_config(task)
