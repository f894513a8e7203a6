"""The circuits of a configuration's fusion: what the ensemble differentiates is what the fusion computes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.initialisers import Uniform
from qmm.trainability import ConfiguredFusion


@pytest.fixture(scope="module")
def two_modalities(repository: Path) -> list[str]:
    return [str(repository / "configs" / name) for name in ("quickstart.yaml", "modalities/vision_audio.yaml")]


@pytest.fixture(scope="module")
def family(two_modalities: list[str]) -> ConfiguredFusion:
    return ConfiguredFusion(two_modalities, features_per_qubit=2)


def test_gradients_are_those_of_the_fusion(family: ConfiguredFusion) -> None:
    """Central differences through `QuantumFusion.forward`; of its 3 outputs sample i is asked for number i modulo 3."""
    ensemble = family.ensemble(2, 2, "own", 4, seed=3)
    weights = ensemble.draw(Uniform(), seed=0)
    found = ensemble.gradients(weights)
    fusion, features = family._sized(2, 2, 4, seed=3)
    assert isinstance(fusion, QuantumFusion)
    assert fusion.out_features == 3
    present = {m: torch.ones(4, dtype=torch.bool) for m in features}
    step = 1e-6
    for row in range(4):
        for place in range(weights.shape[1]):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    fusion.weights.copy_(weights[row])
                    fusion.weights[place] += sign * step
                    values.append(fusion(features, present)[row, row % 3])
            np.testing.assert_allclose(found[row, place], (values[0] - values[1]) / (2 * step), atol=1e-8)


def test_registers_share_the_qubits_and_features_follow(family: ConfiguredFusion) -> None:
    fusion, features = family._sized(5, 1, 6, seed=0)
    assert fusion.layout.sizes == {"vision": 3, "audio": 2}  # type: ignore[union-attr]
    assert {m: x.shape for m, x in features.items()} == {"vision": (6, 6), "audio": (6, 4)}
    assert family.ensemble(5, 1, "zz", 6, seed=0).n_qubits == 5


def test_a_given_observable_takes_the_place_of_the_read_out(family: ConfiguredFusion) -> None:
    ensemble = family.ensemble(4, 1, "z", 3, seed=0)
    (circuit,) = ensemble.circuits
    assert circuit.n_outputs == 1
    assert len(circuit.weights) < len(family.ensemble(4, 1, "own", 3, seed=0).circuits[0].weights)  # others are not felt
    weights = ensemble.draw(Uniform(), seed=0)
    assert (ensemble.gradients(weights).abs().amax(dim=0) > 1e-9).all()


def test_its_own_start_is_the_fusions(family: ConfiguredFusion) -> None:
    """N(0, 0.3), the first layer's RY turned by pi/4."""
    ensemble = family.ensemble(4, 5, "own", 100, seed=0)
    names = [weight.name for weight in ensemble.circuits[0].weights]
    drawn = ensemble.draw(None, seed=1)
    turned = torch.tensor([name.startswith("0.") and ".ry" in name for name in names])
    assert turned.sum() == 4
    margin = 5 * 0.3 / 10
    assert (drawn.mean(dim=0) - torch.where(turned, torch.pi / 4, 0.0)).abs().max() < margin
    assert abs(drawn[:, ~turned].std() - 0.3) < 5 * 0.3 / (2 * drawn[:, ~turned].numel()) ** 0.5
    torch.testing.assert_close(ensemble.draw(None, seed=1), drawn)


def test_what_has_no_such_circuits_is_refused(two_modalities: list[str], repository: Path) -> None:
    with pytest.raises(InputError, match="each takes at least one"):
        ConfiguredFusion(two_modalities).ensemble(1, 1, "own", 2, 0)
    with pytest.raises(InputError, match="give it 2 qubits"):  # 4 features, which take two qubits each
        ConfiguredFusion(two_modalities).ensemble(2, 1, "own", 2, 0)
    with pytest.raises(InputError, match="has no circuit 'other'"):
        ConfiguredFusion(two_modalities, circuit="other").ensemble(4, 1, "own", 2, 0)
    classical = [*two_modalities, str(repository / "configs" / "fusion" / "concat.yaml")]
    with pytest.raises(InputError, match="counterpart"):
        ConfiguredFusion(classical).ensemble(4, 1, "own", 2, 0)
    other = ["--model.init_args.model.fusion", "qmm.fusion.ConcatFusion"]
    with pytest.raises(InputError, match="no `qubits` and `layers`"):
        ConfiguredFusion(two_modalities, other).ensemble(4, 1, "own", 2, 0)
    with pytest.raises(InputError, match="features_per_qubit=0"):
        ConfiguredFusion(two_modalities, features_per_qubit=0)
