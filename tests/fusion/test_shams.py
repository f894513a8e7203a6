"""Shams: as many parameters of the same names, nothing that entangles registers; or nothing that is trained."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import Statevector, partial_trace

from qmm import Branch, MultimodalModel, load
from qmm.circuits import QCNN, Brickwork
from qmm.circuits.gates import FIXED, TRAINED
from qmm.contracts import Budget
from qmm.data import VectorsDataModule
from qmm.decoders import ClassDecoder
from qmm.encoders import LinearCompressor, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import AllToAll, CrossAttention, NoEntangler, Pairs, QuantumFusion, Ring, SparseGraph, Star
from qmm.fusion.shams import SHAMS, sham_local
from qmm.quantum import Circuit
from qmm.tasks import MultimodalClassification
from qmm.training.run_folder import count_parameters

WIDTHS = {"vision": 4, "audio": 2, "text": 5}
ENTANGLERS = [Ring(), Ring("ecr"), Star(), AllToAll("cz"), Pairs(), Pairs("rzx"), SparseGraph(gate="cry"), CrossAttention()]


def made(widths: dict[str, int] | None = None, **arguments) -> QuantumFusion:
    torch.manual_seed(0)
    fusion = QuantumFusion(2, **arguments)
    fusion.build(WIDTHS if widths is None else widths)
    return fusion


def purities(fusion: QuantumFusion, circuit: Circuit) -> list[float]:
    """Of each register's reduced state, at random angles."""
    drawn = circuit.quantum_circuit
    values = np.random.default_rng(3).uniform(-3, 3, drawn.num_parameters)
    state = Statevector(drawn.assign_parameters(values))
    everything = set(range(fusion.layout.n_qubits))
    return [
        partial_trace(state, sorted(everything - set(fusion.layout.qubits(m)))).purity().real for m in fusion.layout.modalities
    ]


@pytest.mark.parametrize("entangler", ENTANGLERS, ids=lambda e: type(e).__name__)
def test_nothing_entangles_registers_and_everything_else_is_the_same(entangler):
    fusion = made(entangler=entangler)
    whole = fusion.circuit()
    sham = sham_local(whole, fusion.layout)
    built = made(entangler=entangler, sham="local").circuit().quantum_circuit
    assert built.count_ops() == sham.quantum_circuit.count_ops()
    assert [p.name for p in built.parameters] == [p.name for p in sham.quantum_circuit.parameters]
    assert min(purities(fusion, whole)) < 0.99
    np.testing.assert_allclose(purities(fusion, sham), 1, atol=1e-12)
    assert [w.name for w in sham.weights] == [w.name for w in whole.weights]
    assert [x.name for x in sham.inputs] == [x.name for x in whole.inputs]
    assert sham.observables == whole.observables
    assert len(sham.quantum_circuit.data) == len(whole.quantum_circuit.data)
    for ours, theirs in zip(sham.quantum_circuit.data, whole.quantum_circuit.data, strict=True):
        owners = {fusion.layout.owner(whole.quantum_circuit.find_bit(q).index) for q in theirs.qubits}
        before = [whole.quantum_circuit.find_bit(q).index for q in theirs.qubits]
        after = [sham.quantum_circuit.find_bit(q).index for q in ours.qubits]
        if len(owners) == 1:
            assert ours == theirs
        elif len(after) == 2:
            assert ours.operation == theirs.operation
            assert sum(a == b for a, b in zip(before, after, strict=True)) == 1  # one of the two stays, in its role
            assert abs(after[0] - after[1]) == 1
        else:
            assert len(ours.operation.params) == len(theirs.operation.params)


def test_no_entangler_entangles_nothing():
    fusion = made(entangler=NoEntangler())
    np.testing.assert_allclose(purities(fusion, fusion.circuit()), 1, atol=1e-12)


@pytest.mark.parametrize("gate", FIXED + TRAINED)
def test_registers_of_one_qubit_have_gates_of_one_qubit(gate):
    fusion = made({"a": 1, "b": 1}, entangler=Pairs(gate))
    sham = sham_local(fusion.circuit(), fusion.layout)
    names = {"cx": "x", "cy": "y", "cz": "z", "crx": "rx", "cry": "ry", "crz": "rz", "cp": "p"}
    names |= {"rxx": "rx", "ryy": "ry", "rzz": "rz", "rzx": "rx", "ecr": "x", "iswap": "x"}
    assert all(len(item.qubits) == 1 for item in sham.quantum_circuit.data)
    plain = made({"a": 1, "b": 1}, entangler=NoEntangler()).circuit().quantum_circuit.count_ops()
    extra = sham.quantum_circuit.count_ops()
    assert {n: c - plain.get(n, 0) for n, c in extra.items() if c != plain.get(n, 0)} == {names[gate]: 2}
    assert set(sham.quantum_circuit.parameters) == set(fusion.circuit().quantum_circuit.parameters)


def test_both_registers_get_their_share():
    fusion = made({"a": 4, "b": 4}, entangler=AllToAll())
    sham = sham_local(fusion.circuit(), fusion.layout).quantum_circuit
    places = [tuple(sham.find_bit(q).index for q in item.qubits) for item in sham.get_instructions("rzz")]
    assert sorted(map(sorted, places)) == [[0, 1]] * 4 + [[2, 3]] * 4


@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from([*ENTANGLERS, NoEntangler()]),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.sampled_from([None, "local", "frozen"]),
    st.sampled_from([None, Brickwork(), QCNN()]),
)
def test_what_is_missing_has_no_influence(entangler, widths, sham, ansatz):
    """For every pattern, features: the same whatever stands in for the absent; 0 where a value needs them."""
    sizes = {"abcd"[i]: k for i, k in enumerate(widths)}
    fusion = made(sizes, entangler=entangler, sham=sham, ansatz=ansatz)
    x = {m: torch.linspace(0.2, 2.8, 2 * k).reshape(2, k) for m, k in sizes.items()}
    for present in itertools.chain.from_iterable(itertools.combinations(sizes, n) for n in range(1, len(sizes) + 1)):
        flags = {m: torch.full((2,), m in present) for m in sizes}
        fused = fusion(x, flags)
        other = {m: a if m in present else torch.full_like(a, torch.nan) for m, a in x.items()}
        assert torch.equal(fusion(other, flags), fused)
        for column, observable in enumerate(fusion.circuit().observables):
            pauli = observable.paulis[0]
            touched = {fusion.layout.owner(int(q)) for q in (pauli.x | pauli.z).nonzero()[0]}
            assert touched <= set(present) or not fused[:, column].any()


def test_a_local_sham_is_trained_and_a_frozen_one_is_not():
    x = {m: torch.rand(4, k) for m, k in WIDTHS.items()}
    present = {m: torch.ones(4, dtype=torch.bool) for m in WIDTHS}
    whole, local, frozen = made(), made(sham="local"), made(sham="frozen")
    counts = [sum(p.numel() for p in f.parameters()) for f in (whole, local, frozen)]
    assert counts[0] == counts[1] == counts[2]
    assert {p.requires_grad for p in local.parameters()} == {True}
    assert {p.requires_grad for p in frozen.parameters()} == {False}
    assert [f(x, present).shape for f in (local, frozen)] == [whole(x, present).shape] * 2
    torch.testing.assert_close(frozen(x, present), whole(x, present))  # it is the same circuit at its start
    assert not torch.allclose(local(x, present), whole(x, present), atol=1e-2)
    angles = {m: a.requires_grad_() for m, a in x.items()}
    frozen(angles, present).square().sum().backward()
    assert all(a.grad is not None and a.grad.abs().max() > 0 for a in angles.values())  # what comes before it can be trained


def test_quantum_fusion_offers_its_shams():
    fusion = made(entangler=Star("vision"), reupload=True, qubits={"audio": 2})
    decoder = ClassDecoder(["a", "b"])
    found = fusion.counterparts(Budget(100, decoder.count_parameters))
    for kind in ("local", "frozen"):
        sham = found[f"sham-{kind}"]
        assert isinstance(sham, QuantumFusion)
        assert sham.config_arguments() == {**fusion.config_arguments(), "sham": kind}
        sham.build(WIDTHS)
        assert sham.out_features == fusion.out_features
        assert sham.weights.shape == fusion.weights.shape


def test_a_sham_that_does_not_exist():
    with pytest.raises(InputError, match=r"no sham named 'locl'; did you mean 'local'"):
        QuantumFusion(sham="locl")


def test_a_gate_of_three_qubits_across_is_refused():
    fusion = made({"a": 2, "b": 4}, entangler=NoEntangler())
    circuit = fusion.circuit()
    circuit.quantum_circuit.ccx(0, 1, 2)
    with pytest.raises(InputError, match="'ccx' across registers acts on 3 qubits"):
        sham_local(circuit, fusion.layout)


@pytest.mark.parametrize("kind", SHAMS)
def test_a_model_trains_around_its_sham_and_is_loaded_again(kind, make_trainer, tmp_path):
    generator = np.random.default_rng(0)
    audio, text = generator.normal(size=(2, 12, 3))
    split = np.array(["train"] * 8 + ["val"] * 4)
    np.savez(tmp_path / "v.npz", audio=audio, text=text, label=np.arange(12) % 2, split=split)
    names = ("audio", "text")
    data = VectorsDataModule(str(tmp_path / "v.npz"), {m: m for m in names}, classes=["low", "high"], batch_size=4)
    branches = {m: Branch(VectorEncoder(3), LinearCompressor(2)) for m in names}
    model = MultimodalModel(QuantumFusion(2), ClassDecoder(data.classes), **branches, counterpart=f"sham-{kind}")
    task = MultimodalClassification(model, learning_rate=0.1, fusion_learning_rate=0.2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = make_trainer(epochs=2)
    trainer.fit(task, datamodule=data)
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert still == ({"fusion.weights"} if kind == "frozen" else set())
    counts = count_parameters(model)
    assert counts["fusion_total"] == before["fusion.weights"].numel()
    assert counts["fusion"] == (0 if kind == "frozen" else counts["fusion_total"])
    trainer.save_checkpoint(tmp_path / "sham.ckpt")
    again = load(tmp_path / "sham.ckpt")
    assert again.model.fusion.sham == kind
    assert torch.equal(again.model.fusion.weights, model.fusion.weights)
