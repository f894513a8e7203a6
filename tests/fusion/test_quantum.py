"""QuantumFusion: missing modalities against hand-built circuits, state, copies, and what it refuses."""

import copy
import itertools
import pickle

import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Pauli, Statevector

from qmm.errors import InputError
from qmm.fusion import Entangler, Pairs, QuantumFusion, Ring

SIZES = {
    "two": ({"vision": 3, "audio": 6}, {}),
    "three": ({"vision": 4, "audio": 1, "text": 3}, {}),
    "roomy": ({"vision": 2, "audio": 2, "text": 2}, {"vision": 3, "text": 2}),
    "one": ({"audio": 4}, {}),
}


def make(
    widths: dict[str, int], qubits: dict[str, int], reupload: bool = False, entangler: type[Entangler] = Ring
) -> QuantumFusion:
    torch.manual_seed(0)
    fusion = QuantumFusion(layers=2, qubits=qubits, reupload=reupload, entangler=entangler())
    fusion.build(widths)
    torch.nn.init.uniform_(fusion.weights, -3, 3)
    return fusion


def draw_angles(widths: dict[str, int], rows: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {m: 3 * torch.rand(rows, k, generator=generator) for m, k in widths.items()}


def flags(widths: dict[str, int], present: tuple[str, ...], rows: int = 4) -> dict[str, torch.Tensor]:
    return {m: torch.full((rows,), m in present) for m in widths}


def patterns(widths: dict[str, int]) -> list[tuple[str, ...]]:
    return [p for size in range(1, len(widths) + 1) for p in itertools.combinations(widths, size)]


def by_hand(fusion: QuantumFusion, angles: dict[str, list[float]], present: tuple[str, ...]) -> list[float]:
    """The circuit on the present registers alone, gate by gate, with Qiskit's state vector; absent values 0."""
    weights = dict(zip((w.name for w in fusion.circuit().weights), fusion.weights.tolist(), strict=True))
    sizes = fusion.layout.sizes
    places: dict[tuple[str, int], int] = {}
    for modality in present:
        for qubit in range(sizes[modality]):
            places[modality, qubit] = len(places)
    circuit = QuantumCircuit(len(places))
    for layer in range(fusion.layers):
        for m in present:
            n = sizes[m]
            for i, angle in enumerate(angles[m] if layer == 0 or fusion.reupload else []):
                (circuit.ry if i < n else circuit.rz)(angle, places[m, i % n])
        names = list(sizes)
        if isinstance(fusion.entangler, Ring):
            met = set()
            for a, b in zip(names, names[1:] + names[:1], strict=True):
                ends = (a, sizes[a] - 1), (b, 0)
                if a != b and frozenset(ends) not in met:
                    met.add(frozenset(ends))
                    if a in present and b in present:
                        circuit.cx(places[ends[0]], places[ends[1]])
        else:
            for a, b in itertools.combinations(names, 2):
                for i in range(max(sizes[a], sizes[b])):
                    qa, qb = i % sizes[a], i % sizes[b]
                    if a in present and b in present:
                        circuit.rzz(weights[f"{layer}.{a}{qa}-{b}{qb}.zz"], places[a, qa], places[b, qb])
        for m in present:
            n = sizes[m]
            for q in range(n):
                circuit.rz(weights[f"{layer}.{m}.rz{q}"], places[m, q])
                circuit.ry(weights[f"{layer}.{m}.ry{q}"], places[m, q])
            for q in range(n if n > 2 else n - 1):
                circuit.cx(places[m, q], places[m, (q + 1) % n])
    state = Statevector(circuit)

    def z(*qubits: tuple[str, int]) -> float:
        if any(q not in places for q in qubits):
            return 0.0
        wires = [places[q] for q in qubits]
        return state.expectation_value(Pauli("".join("Z" if w in wires else "I" for w in reversed(range(len(places)))))).real

    values = [z((m, q)) for m in sizes for q in range(sizes[m])]
    for a, b in itertools.combinations(sizes, 2):
        values += [z((a, i), (b, j)) for i in range(sizes[a]) for j in range(sizes[b])]
    return values


@pytest.mark.parametrize("reupload", [False, True])
@pytest.mark.parametrize("entangler", [Ring, Pairs])
@pytest.mark.parametrize("case", SIZES)
def test_every_pattern_equals_the_circuit_built_by_hand_without_the_absent(case, entangler, reupload):
    widths, qubits = SIZES[case]
    fusion = make(widths, qubits, reupload, entangler)
    angles = draw_angles(widths, rows=2)
    for present in patterns(widths):
        expected = [by_hand(fusion, {m: a[row].tolist() for m, a in angles.items()}, present) for row in range(2)]
        fused = fusion(angles, flags(widths, present, rows=2))
        assert fused.dtype == torch.float32
        torch.testing.assert_close(fused, torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", ["two", "three"])
def test_what_stands_in_place_of_the_absent_has_no_influence(case):
    widths, qubits = SIZES[case]
    fusion = make(widths, qubits)
    for present in patterns(widths):
        angles = draw_angles(widths)
        expected = fusion(angles, flags(widths, present))
        for placeholder in (0.0, 1e6, torch.nan, torch.inf):
            other = {m: a.clone() if m in present else torch.full_like(a, placeholder) for m, a in angles.items()}
            other = {m: a.requires_grad_() for m, a in other.items()}
            fused = fusion(other, flags(widths, present))
            assert torch.equal(fused, expected)
            gradient = torch.autograd.grad(fused.square().sum(), fusion.weights, retain_graph=True)[0]
            assert gradient.isfinite().all()
            fused.square().sum().backward()
            for m, a in other.items():
                assert a.grad is None or a.grad.isfinite().all()
                assert m in present or a.grad is None or not a.grad.any()


def test_weights_of_the_absent_get_no_gradient():
    widths, qubits = SIZES["three"]
    for entangler in (Ring, Pairs):
        fusion = make(widths, qubits, entangler=entangler)
        for present in patterns(widths):
            fused = fusion(draw_angles(widths), flags(widths, present))
            gradients = torch.autograd.grad(fused.square().sum(), fusion.weights)[0]
            for weight, gradient in zip(fusion.circuit().weights, gradients, strict=True):
                absent = [m for m in widths if m not in present and m in weight.name]
                assert not (absent and gradient), weight.name


def test_a_mixed_batch_equals_its_rows():
    widths, qubits = SIZES["three"]
    fusion = make(widths, qubits)
    mixture = [*patterns(widths), *reversed(patterns(widths))]
    angles = draw_angles(widths, rows=len(mixture))
    present = {m: torch.tensor([m in p for p in mixture]) for m in widths}
    rows = [fusion({m: a[i : i + 1] for m, a in angles.items()}, flags(widths, p, rows=1)) for i, p in enumerate(mixture)]
    torch.testing.assert_close(fusion(angles, present), torch.cat(rows))
    mixed = torch.autograd.grad(fusion(angles, present).square().sum(), fusion.weights)[0]
    alone = torch.autograd.grad(torch.cat(rows).square().sum(), fusion.weights)[0]
    torch.testing.assert_close(mixed, alone)


def test_the_circuit_of_a_pattern_is_the_whole_one_with_the_absent_deleted():
    widths, qubits = SIZES["three"]
    fusion = make(widths, qubits)
    whole, part = fusion.circuit(), fusion.circuit(["text", "vision"])
    assert [r.name for r in whole.quantum_circuit.qregs] == ["vision", "audio", "text"]
    assert [r.name for r in part.quantum_circuit.qregs] == ["vision", "text"]

    def named(circuit: QuantumCircuit) -> list:
        bits = {q: (r.name, i) for r in circuit.qregs for i, q in enumerate(r)}
        return [(item.operation, *(bits[q] for q in item.qubits)) for item in circuit.data]

    assert named(part.quantum_circuit) == [i for i in named(whole.quantum_circuit) if all(q[0] != "audio" for q in i[1:])]
    assert set(part.weights) < set(whole.weights)
    assert len(whole.observables) == fusion.out_features == 5 + 2 * 1 + 2 * 2 + 1 * 2
    assert len(part.observables) == 4 + 2 * 2


def test_a_batch_without_rows():
    widths, qubits = SIZES["two"]
    fusion = make(widths, qubits)
    assert fusion(draw_angles(widths, rows=0), flags(widths, (), rows=0)).shape == (0, fusion.out_features)


def test_the_state_is_the_weights_and_copies_compute_the_same():
    widths, qubits = SIZES["two"]
    fusion = make(widths, qubits)
    angles, present = draw_angles(widths), flags(widths, ("audio",))
    expected = fusion(angles, present)
    assert list(fusion.state_dict()) == ["weights"]
    for other in (copy.deepcopy(fusion), pickle.loads(pickle.dumps(fusion))):
        assert not other._patterns._made
        assert torch.equal(other(angles, present), expected)
    fresh = QuantumFusion(layers=2, qubits=qubits)
    fresh.build(widths)
    fresh.load_state_dict(fusion.state_dict())
    assert torch.equal(fresh(angles, present), expected)


def test_the_cache_of_compiled_circuits_is_bounded():
    widths, qubits = SIZES["three"]
    fusion = make(widths, qubits)
    fusion._patterns._kept = 2
    angles = draw_angles(widths)
    for present in patterns(widths)[:3]:
        fusion(angles, flags(widths, present))
    assert list(fusion._patterns._made) == patterns(widths)[1:3]
    fusion(angles, flags(widths, patterns(widths)[1]))
    fusion(angles, flags(widths, patterns(widths)[0]))
    assert list(fusion._patterns._made) == [patterns(widths)[1], patterns(widths)[0]]


def test_every_input_and_weight_is_felt_from_the_first_step():
    torch.manual_seed(0)
    widths = {"vision": 4, "audio": 4}
    fusion = QuantumFusion()
    fusion.build(widths)
    angles = {m: a.requires_grad_() for m, a in draw_angles(widths, rows=64).items()}
    fused = fusion(angles, flags(widths, tuple(widths), rows=64)).square().sum()
    weights, *inputs = torch.autograd.grad(fused, [fusion.weights, *angles.values()])
    for gradient in inputs:
        assert (gradient.abs().mean(dim=0) > 0.01).all()
    assert (weights.abs() > 1e-3).all()


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="layers=0"):
        QuantumFusion(layers=0)
    with pytest.raises(InputError, match=r"'audio': .*5 features for a register of 2 qubits, they take 3; give it 3"):
        QuantumFusion(qubits={"audio": 2}).build({"vision": 2, "audio": 5})
    with pytest.raises(InputError, match="qubits are given for sound"):
        QuantumFusion(qubits={"sound": 2}).build({"vision": 2, "audio": 5})
    widths, qubits = SIZES["two"]
    present = {"vision": torch.tensor([True, False, False]), "audio": torch.tensor([True, False, True])}
    with pytest.raises(InputError, match="row 1 of the batch has none of vision, audio"):
        make(widths, qubits)(draw_angles(widths, rows=3), present)
