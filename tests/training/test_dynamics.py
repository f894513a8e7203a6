"""Dynamics: what it tells of tasks and of modules of other people, its warnings, its files, its cost."""

import math
import warnings

import lightning
import pandas as pd
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qmm.circuits import meyer_wallach
from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.geometry import classical_fisher, fubini_study
from qmm.quantum import Circuit, Evaluation, QuantumLayer, recording, states
from qmm.training import Dynamics, dynamics_plots
from qmm.training.dynamics_readings import Circuits, Tally, flatness, read_circuit


def circuit(n_qubits: int, layers: int = 1, projector: bool = False) -> Circuit:
    written = QuantumCircuit(n_qubits)
    x, w = ParameterVector("x", n_qubits), iter(ParameterVector("w", n_qubits * layers))
    for qubit in range(n_qubits):
        written.ry(x[qubit], qubit)
    for _ in range(layers):
        for qubit in range(n_qubits):
            written.ry(next(w), qubit)
        for qubit in range(n_qubits - 1):
            written.cz(qubit, qubit + 1)
    return Circuit.of(written, list(x), observables=["Z" * n_qubits] if projector else ["I" * (n_qubits - 1) + "Z"])


class Plain(lightning.LightningModule):
    """A module that knows nothing of this project but its QuantumLayer."""

    def __init__(self, own: Circuit):
        super().__init__()
        self.before, self.layer = nn.Linear(2, len(own.inputs)), QuantumLayer(own)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self.layer(self.before(x)).sum(1) - y).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05)


def data(size: int = 24) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(size, 2, generator=generator), torch.rand(size, generator=generator)), 8)


def fit(make_trainer, module, *callbacks, epochs: int = 2, **settings):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The 'train_dataloader' does not have many workers")
        trainer = make_trainer(*callbacks, epochs=epochs)
        trainer.fit(module, data(), **settings)
    return trainer


def test_readings_are_what_the_instruments_say():
    own = circuit(3, 2)
    torch.manual_seed(0)
    evaluation = Evaluation(QuantumLayer(own).compiled, torch.randn(5, 3), torch.randn(6))
    found = read_circuit(evaluation, 1000)
    inputs, weights = evaluation.inputs.double(), evaluation.weights.double()
    metric = fubini_study(own, inputs, weights).mean(0)
    assert found["quantum_fisher/mean"] == pytest.approx(4 * float(metric.trace()) / 6)
    assert found["quantum_fisher/largest"] == pytest.approx(4 * float(torch.linalg.eigvalsh(metric)[-1]))
    assert found["classical_fisher/mean"] == pytest.approx(float(classical_fisher(own, inputs, weights).mean(0).trace()) / 6)
    vectors = states(own, inputs, weights).numpy()
    assert found["entanglement/meyer_wallach"] == pytest.approx(float(meyer_wallach(vectors).mean()))
    layers = [found[f"output_gradient/layer_{layer}"] for layer in range(2)]
    assert found["output_gradient"] == pytest.approx(math.sqrt(sum(slope**2 for slope in layers) / 2))


def test_circuits_are_found_whole_in_parts_or_not_at_all():
    fusion = QuantumFusion(layers=1)
    fusion.build({"vision": 4, "audio": 4})
    here = {"vision": torch.tensor([True, True, True]), "audio": torch.tensor([True, False, True])}
    angles = {name: torch.randn(3, 4) for name in here}
    with recording() as tape:
        fusion(angles, here)
    whole, missing = Circuits.of(fusion, tape, 8)
    assert (list(whole), missing) == (["fusion"], [])
    assert whole["fusion"].inputs.shape == (2, 8)
    assert torch.equal(whole["fusion"].weights, fusion.weighted_circuits()["fusion"].weights)
    parts, missing = Circuits.of(fusion, [e for e in tape if e.circuit is not whole["fusion"].circuit], 8)
    assert (list(parts), missing) == (["fusion[vision]"], [])
    assert parts["fusion[vision]"].inputs.shape == (1, 4)
    assert 0 < read_circuit(parts["fusion[vision]"], 1000)["quantum_fisher/mean"] <= 1
    assert Circuits.of(fusion, [], 8) == ({}, ["fusion"])


def test_tally_is_the_variance_over_steps():
    module = Plain(circuit(2, 2))
    tally, kept = Tally(module), []
    for seed in range(5):
        torch.manual_seed(seed)
        module.zero_grad()
        module.training_step((torch.randn(4, 2), torch.rand(4)), 0).backward()
        tally.add()
        kept.append([p.grad.clone() for p in (module.layer.weights, *module.before.parameters()) if p.grad is not None])
    found = tally.readings()
    gradients = torch.stack([weights for weights, *_ in kept])
    assert found["layer/loss_gradient_variance/layer_0"] == pytest.approx(float(gradients[:, :2].var(0).mean()), rel=1e-4)
    assert found["layer/loss_gradient_variance/layer_1"] == pytest.approx(float(gradients[:, 2:].var(0).mean()), rel=1e-4)
    classical = [math.hypot(float(matrix.norm()), float(bias.norm())) for _, matrix, bias in kept]
    assert found["gradient_norm/quantum"] == pytest.approx(float(gradients.norm(dim=1).mean()), rel=1e-5)
    assert found["gradient_norm/classical"] == pytest.approx(sum(classical) / 5, rel=1e-5)


def test_a_module_of_someone_else_is_looked_at_and_left_as_it_was(make_trainer, tmp_path):
    weights = []
    for callbacks in ([], [Dynamics(rows=4, folder=str(tmp_path / "out"))]):
        torch.manual_seed(1)
        module = Plain(circuit(2))
        trainer = fit(make_trainer, module, *callbacks)
        weights.append(torch.cat([p.flatten() for p in module.parameters()]))
    assert torch.equal(*weights)
    table = pd.read_csv(tmp_path / "out" / "dynamics.csv")
    assert table["epoch"].tolist() == [0, 1]
    assert table.drop(columns="epoch").notna().all(axis=None)
    assert {"layer/output_gradient", "gradient_norm/quantum", "layer/spread/weights"} <= set(table.columns)
    assert trainer.callback_metrics["dynamics/layer/output_gradient"] == pytest.approx(table["layer/output_gradient"].iloc[-1])
    assert (tmp_path / "out" / "dynamics.png").stat().st_size > 10_000


def test_warns_of_a_plateau_once_and_says_what_to_try(make_trainer):
    """Products of cosines of ten random angles: an output changes by some 2**-5, not by 0.2."""
    torch.manual_seed(0)
    module = Plain(circuit(10, projector=True))
    with pytest.warns(
        UserWarning, match=r"barren plateau: turning a weight of layer \(10 qubits, 10 weights\).*SmallAngle"
    ) as said:
        fit(make_trainer, module, Dynamics(plateau=0.2))
    assert sum("plateau" in str(warning.message) for warning in said) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*plateau")
        fit(make_trainer, Plain(circuit(2)), Dynamics(plateau=1e-6))


def test_words_for_a_flat_layer_and_for_no_slope_at_all():
    compiled = QuantumLayer(circuit(2)).compiled
    readings = {"output_gradient": 0.1, "output_gradient/layer_0": 0.14, "output_gradient/layer_1": 0.001}
    found = flatness("fusion", compiled, readings, 0.01)
    assert not found.is_plateau
    assert "a flat layer" in str(found)
    assert "but of layer 1 by less than 0.01" in str(found)
    none = flatness("fusion", compiled, {"output_gradient": 0.0}, 0.01)
    assert none.is_plateau
    assert "no number of shots shows it" in str(none)
    assert flatness("fusion", compiled, {"output_gradient": 0.01}, 0.02).shots == pytest.approx(5000)


def test_continues_where_a_killed_training_was(make_trainer, tmp_path):
    torch.manual_seed(0)
    first = Dynamics(folder=str(tmp_path))
    trainer = fit(make_trainer, Plain(circuit(2)), first, epochs=2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    second = Dynamics(folder=str(tmp_path))
    fit(make_trainer, Plain(circuit(2)), second, epochs=3, ckpt_path=tmp_path / "two.ckpt")
    assert [row["epoch"] for row in second.history] == [0, 1, 2]
    assert second.history[:2] == first.history
    assert pd.read_csv(tmp_path / "dynamics.csv")["epoch"].tolist() == [0, 1, 2]


def test_a_circuit_that_is_too_large_is_left_out(make_trainer):
    own = Dynamics(most_qubits=2)
    with pytest.warns(UserWarning, match="layer has 3 qubits, `most_qubits`=2 leaves it out"):
        fit(make_trainer, Plain(circuit(3)), own, epochs=1)
    assert "gradient_norm/quantum" in own.history[0]
    assert "layer/output_gradient" not in own.history[0]


@pytest.mark.parametrize("wrong", [{"every": 0}, {"rows": 0}, {"plateau": -1}, {"data_size": 3}, {"most_qubits": 0}])
def test_refuses_numbers_that_make_no_sense(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
        Dynamics(**wrong)


def test_picture_of_two_circuits():
    rows = [{"epoch": e, "a/output_gradient": 0.1, "b/output_gradient": math.nan, "b/spread/weights": 1.0} for e in (0, 1)]
    figure = dynamics_plots.dynamics(rows, 0.01)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == ["|d output / d weight|, rms, per radian", "spread of angles (rad)"]
    assert [line.get_label() for line in shown[0].get_lines()] == ["a", "flat below"]


def test_a_task_with_several_losses(qmm, tiny, repository, tmp_path):
    """The command, with the overlay: conflicts between losses, registers by name, the run's folder."""
    said = qmm(
        "fit", *tiny, "--config", repository / "configs" / "training" / "dynamics.yaml", "--runs", tmp_path, "--name", "run"
    )
    assert "Dynamics took" in said.stdout
    table = pd.read_csv(tmp_path / "run" / "dynamics.csv")
    assert table["epoch"].tolist() == [0, 1, 2]  # before each epoch, and in the end
    fusion = "model.fusion.fusion"
    wanted = {f"{fusion}/entanglement/{name}" for name in ("meyer_wallach", "vision", "audio-text")}
    wanted |= {"conflict/classical/decoder-vision", f"{fusion}/output_gradient/layer_2"}
    assert table[sorted(wanted)].notna().all(axis=None)
    assert table["conflict/classical/decoder-vision"].abs().max() <= 1
    assert (tmp_path / "run" / "dynamics.png").is_file()
