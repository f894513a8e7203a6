"""MultiEncoderFusion: both stages gate by gate with Qiskit's state vectors; long-range layers; what it refuses."""

import itertools
import math

import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Pauli, Statevector

from qmm.circuits import LongRange
from qmm.circuits.long_range import long_range_layer
from qmm.contracts import Budget
from qmm.errors import InputError
from qmm.fusion import MultiEncoderFusion, QuantumFusion

WIDTHS = {"vision": 5, "audio": 2, "text": 3}
QUBITS = {"vision": 3, "audio": 1, "text": 2}
PATTERNS = [p for size in (1, 2, 3) for p in itertools.combinations(WIDTHS, size)]


def make(encoders: int = 2) -> MultiEncoderFusion:
    torch.manual_seed(0)
    fusion = MultiEncoderFusion(encoders)
    fusion.build(WIDTHS)
    for parameter in fusion.parameters():
        torch.nn.init.uniform_(parameter, -3, 3)
    return fusion.double()


def features(rows: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {m: 3 * torch.rand(rows, k, generator=generator, dtype=torch.float64) for m, k in WIDTHS.items()}


def flags(present: tuple[str, ...], rows: int = 3) -> dict[str, torch.Tensor]:
    return {m: torch.full((rows,), m in present) for m in WIDTHS}


def encoder_by_hand(x: list[float], weights: list[float], n: int) -> list[float]:
    circuit, place = QuantumCircuit(n), iter(weights)
    for i, angle in enumerate(x):
        (circuit.ry if i < n else circuit.rz)(angle, i % n)
    if n == 1:
        circuit.ry(next(place), 0)
    for distance in (1, 2):
        for q in range(n) if distance < n else ():
            circuit.cx(q, (q + distance) % n)
            circuit.ry(next(place), (q + distance) % n)
    state = Statevector(circuit)
    return [state.expectation_value(Pauli("Z"), [q]) for q in range(n)]


def own_weights(fusion: MultiEncoderFusion) -> dict[str, torch.Tensor]:
    return dict(zip(WIDTHS, fusion.weights.split([6, 1, 2], dim=1), strict=True))


@pytest.mark.parametrize("encoders", [1, 2])
def test_every_pattern_is_the_main_circuit_over_the_encoders_of_the_present(encoders):
    fusion = make(encoders)
    x = features()
    encoded = {}
    for m, weights in own_weights(fusion).items():
        rows = [[z for e in weights.tolist() for z in encoder_by_hand(row, e, QUBITS[m])] for row in x[m].tolist()]
        encoded[m] = (1 + torch.tensor(rows, dtype=torch.float64)) * (math.pi / 2)
    for present in PATTERNS:
        torch.testing.assert_close(
            fusion(x, flags(present)), fusion.main(encoded, flags(present)), atol=1e-9, rtol=0, msg=str(present)
        )


def test_circuits_are_the_encoders_of_the_present_and_the_main_one():
    fusion = make()
    assert list(fusion.circuits(["text"])) == ["text.0", "text.1", "main.fusion"]
    assert {name: c.quantum_circuit.num_qubits for name, c in fusion.circuits().items()} == {
        **{f"{m}.{e}": n for m, n in QUBITS.items() for e in (0, 1)},
        "main.fusion": 6,
    }


def test_encoders_of_the_absent_get_no_gradient():
    fusion = make()
    fused = fusion(features(), flags(("vision", "text"))).square().sum()
    vision, audio, text = torch.autograd.grad(fused, fusion.weights)[0].split([6, 1, 2], dim=1)
    assert vision.all()
    assert text.all()
    assert not audio.any()


def test_a_main_circuit_given_is_not_the_one_trained():
    given = QuantumFusion(1)
    MultiEncoderFusion(main=given).build(WIDTHS)
    assert not list(given.parameters())


def test_long_range_layers():
    ring = [(item.operation.name, [q._index for q in item.qubits]) for item in long_range_layer(3, 5).data]
    blocks = [("cx", [0, 1]), ("ry", [1]), ("cx", [1, 2]), ("ry", [2]), ("cx", [2, 0]), ("ry", [0])]
    blocks += [("cx", [0, 2]), ("ry", [2]), ("cx", [1, 0]), ("ry", [0]), ("cx", [2, 1]), ("ry", [1])]
    assert ring == blocks
    assert LongRange(2, depth=3).circuit(4).num_parameters == 3 * 2 * 4
    assert LongRange(depth=2).circuit(1).num_parameters == 2


def test_what_is_refused():
    with pytest.raises(InputError, match="encoders=0"):
        MultiEncoderFusion(encoders=0)
    with pytest.raises(InputError, match="connectivity=0"):
        LongRange(connectivity=0)
    with pytest.raises(InputError, match=r"'vision': .*they take 3"):
        MultiEncoderFusion(qubits={"vision": 2}).build(WIDTHS)
    with pytest.raises(InputError, match="qubits or feature maps for sound"):
        MultiEncoderFusion(qubits={"sound": 2}).build(WIDTHS)


def test_shams_are_as_large_and_leave_out_what_they_say():
    fusion = make()
    found = fusion.counterparts(Budget(100, lambda width: width + 1))
    assert {"sham-local", "sham-frozen", "concat"} <= set(found)
    for kind in ("local", "frozen"):
        sham = found[f"sham-{kind}"]
        sham.build(WIDTHS)
        assert sum(p.numel() for p in sham.parameters()) == sum(p.numel() for p in fusion.parameters())
        assert {p.requires_grad for p in sham.parameters()} == {kind == "local"}
        assert isinstance(sham, MultiEncoderFusion)
        assert sham.main.sham == kind
    alone = MultiEncoderFusion(1)
    alone.build({"text": 4})
    assert "sham-local" not in alone.counterparts(Budget(100, lambda width: width + 1))  # it would be the same circuit
