"""PerturbCircuits: on a model while it is trained, off afterwards, and the same when a training is continued."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from qmm.cli import main
from qmm.contracts import Perturbation
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, KernelFusion, QuantumFusion
from qmm.regularisation import AngleNoise, GateDropout, PauliNoise, PerturbCircuits
from qmm.training.cli import TrainingCLI

EVERY: list[Perturbation] = [GateDropout(0.2, 0.2, pool=3), AngleNoise(), PauliNoise(0.05)]


class Holder(torch.nn.Module):
    def __init__(self, fusion: Any):
        super().__init__()
        self.fusion = fusion
        fusion.build({"vision": 2, "audio": 2})


def test_set_for_the_training_and_taken_away() -> None:
    model: Any = Holder(QuantumFusion(layers=1))
    callback, other = PerturbCircuits(EVERY), AngleNoise(0.3)
    model.fusion.perturbations = (other,)
    callback.on_fit_start(None, model)  # type: ignore[arg-type]
    assert model.fusion.perturbations[0] is other
    assert list(model.fusion.perturbations[-3:]) == EVERY
    callback.teardown(None, model, "fit")  # type: ignore[arg-type]
    assert model.fusion.perturbations == (other,)
    callback.on_fit_start(None, model)  # type: ignore[arg-type]
    callback.on_exception(None, model, RuntimeError())  # type: ignore[arg-type]
    assert model.fusion.perturbations == (other,)


def test_nothing_to_change_is_an_error() -> None:
    with pytest.raises(InputError, match="perturbations is empty"):
        PerturbCircuits([])
    classical: Any = Holder(ConcatFusion(hidden=4))
    for perturbation in EVERY:
        with pytest.raises(InputError, match=f"{type(perturbation).__name__} finds nothing to change in the 0 trained"):
            PerturbCircuits([perturbation]).on_fit_start(None, classical)  # type: ignore[arg-type]


def test_circuits_that_pass_by_are_an_error() -> None:
    """A kernel is computed from states, expectation values are not."""
    callback = PerturbCircuits([AngleNoise()])
    rows = {m: torch.rand(4, 2) for m in ("vision", "audio")}, {m: torch.ones(4, dtype=torch.bool) for m in ("vision", "audio")}
    for fusion, passes in ((KernelFusion(landmarks=2), False), (QuantumFusion(layers=1), True)):
        model: Any = Holder(fusion)
        callback.on_fit_start(None, model)  # type: ignore[arg-type]
        model.fusion(*rows)
        with nullcontext() if passes else pytest.raises(InputError, match="no circuit passed the perturbations"):
            callback.on_train_batch_end(None, model, None, None, 0)  # type: ignore[arg-type]


def test_a_training_that_is_continued_draws_what_an_unbroken_one_draws(
    tiny: list[str], tmp_path: Path, stop_after: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the command line, with every perturbation and the decay, added by overlays one after the other."""
    parts = [{"class_path": f"qmm.regularisation.{type(p).__name__}", "init_args": p.config_arguments()} for p in EVERY]
    callbacks = [
        {"class_path": "qmm.regularisation.PerturbCircuits", "init_args": {"perturbations": parts}},
        {"class_path": "qmm.regularisation.PeriodicWeightDecay", "init_args": {"rate": 0.1}},
    ]
    flags = [*tiny, "--runs", str(tmp_path), "--pictures", "false", "--trainer.logger", "false"]
    flags += [f"--data.init_args.{name}={count}" for name, count in (("size", 24), ("val_size", 12), ("test_size", 12))]
    for number, callback in enumerate(callbacks):
        overlay = tmp_path / f"{number}.yaml"
        overlay.write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
        flags += ["--config", str(overlay)]
    main(["fit", *flags, "--name", "whole"])
    made = TrainingCLI.instantiate_trainer

    def stopping(self: Any, **kwargs: Any) -> Any:
        trainer: Any = made(self, **kwargs)
        assert [type(c).__name__ for c in trainer.callbacks].count("PerturbCircuits") == 1
        assert [type(c).__name__ for c in trainer.callbacks].count("PeriodicWeightDecay") == 1
        trainer.callbacks.append(stop_after(1))
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCLI, "instantiate_trainer", stopping)
        main(["fit", *flags, "--name", "broken"])
    main(["fit", *flags, "--name", "broken", "--ckpt_path", "last"])
    whole, broken = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("whole", "broken")
    )
    assert whole["epoch"] == broken["epoch"] == 1
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(broken["state_dict"][name], value, atol=0, rtol=0, msg=name)
