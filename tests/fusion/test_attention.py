"""QuantumSelfAttention against its formula with Qiskit's state vectors; the absent; what it refuses."""

import itertools
import math

import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from qmm.errors import InputError
from qmm.fusion import QuantumSelfAttention
from qmm.fusion.attention import qsann_ansatz, value_observables

WIDTHS = {"vision": 5, "audio": 2, "text": 3}


def make(**settings: object) -> QuantumSelfAttention:
    torch.manual_seed(0)
    fusion = QuantumSelfAttention(**settings)  # type: ignore[arg-type]
    fusion.build(WIDTHS)
    for weights in fusion.weights.values():
        torch.nn.init.uniform_(weights, -3, 3)
    return fusion.double()


def features(rows: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {m: 3 * torch.rand(rows, k, generator=generator, dtype=torch.float64) for m, k in WIDTHS.items()}


def flags(present: tuple[str, ...], rows: int = 2) -> dict[str, torch.Tensor]:
    return {m: torch.full((rows,), m in present) for m in WIDTHS}


def token_values(token: list[float], weights: dict[int, float], observables: list[str]) -> list[float]:
    """Two qubits, one column of CX and RY in both halves, gate by gate; weights left out do not matter, and are 0."""
    circuit = QuantumCircuit(2)
    for angles in (token, [weights.get(i, 0.0) for i in range(6)]):
        circuit.rx(angles[0], 0)
        circuit.rx(angles[1], 1)
        circuit.ry(angles[2], 0)
        circuit.ry(angles[3], 1)
        circuit.cx(0, 1)
        circuit.cx(1, 0)
        circuit.ry(angles[4], 0)
        circuit.ry(angles[5], 1)
    state = Statevector(circuit)
    return [state.expectation_value(SparsePauliOp(o)).real for o in observables]


def by_formula(fusion: QuantumSelfAttention, tokens: list[list[float]]) -> list[list[float]]:
    for layer in range(fusion.layers):
        found = {}
        for kind, observables in (("query", ["IZ"]), ("key", ["IZ"]), ("value", ["IZ", "ZI", "IX", "XI", "IY", "YI"])):
            names = [int(p.name.split(".")[1]) for p in fusion.circuits()[f"{layer}.{kind}"].weights]
            weights = dict(zip(names, fusion.weights[kind][layer].tolist(), strict=True))
            found[kind] = [token_values(token, weights, observables) for token in tokens]
        updated = []
        for token, (query,) in zip(tokens, found["query"], strict=True):
            scores = [math.exp(-((query - key) ** 2)) for (key,) in found["key"]]
            taken = [
                sum(s * o[i] for s, o in zip(scores, found["value"], strict=True)) / sum(scores) for i in range(len(token))
            ]
            updated.append([y + o for y, o in zip(token, taken, strict=True)])
        tokens = updated
    return tokens


@pytest.mark.parametrize("average", [False, True])
def test_every_pattern_is_the_formula(average):
    fusion = make(layers=2, average=average)
    x = features()
    for size in (1, 2, 3):
        for present in itertools.combinations(WIDTHS, size):
            fused = fusion(x, flags(present))
            for row in range(2):
                padded = {m: [*x[m][row].tolist(), *[0.0] * (6 - WIDTHS[m])] for m in present}
                tokens = dict(zip(present, by_formula(fusion, list(padded.values())), strict=True))
                if average:
                    expected = torch.tensor(list(tokens.values())).double().mean(dim=0)
                else:
                    expected = torch.tensor([tokens.get(m, [0.0] * 6) for m in WIDTHS]).double().flatten()
                torch.testing.assert_close(fused[row], expected, atol=1e-6, rtol=0)


def test_the_order_of_the_modalities_is_the_order_of_the_output():
    fusion, other = make(), make()
    other.build(dict(reversed(WIDTHS.items())))
    other.load_state_dict(fusion.state_dict())
    tokens = fusion(features(), flags(tuple(WIDTHS))).unflatten(1, (3, 6))
    torch.testing.assert_close(other.double()(features(), flags(tuple(WIDTHS))).unflatten(1, (3, 6)), tokens.flip(1))


def test_query_and_key_have_no_weight_outside_the_light_cone_of_their_qubit():
    for kind, number in (("0.query", 5), ("0.key", 5), ("0.value", 6)):
        assert len(make().circuits()[kind].weights) == number


def test_pauli_strings_in_order():
    assert [o.paulis[0].to_label() for o in value_observables(2, 9)] == ["IZ", "ZI", "IX", "XI", "IY", "YI", "ZZ", "XZ", "YZ"]
    labels = {o.paulis[0].to_label() for o in value_observables(3, 63)}
    assert labels == {"".join(p) for p in itertools.product("IXYZ", repeat=3)} - {"III"}


def test_what_is_refused():
    with pytest.raises(InputError, match="layers=0"):
        QuantumSelfAttention(layers=0)
    with pytest.raises(InputError, match="5 features for a token of 1 qubits, which holds 3; take 2 qubits"):
        make(qubits=1)
    with pytest.raises(InputError, match="16 Pauli strings of 2 qubits, there are 15"):
        value_observables(2, 16)
    with pytest.raises(InputError, match="5 angles for the ansatz of 2 qubits"):
        qsann_ansatz([Parameter(str(i)) for i in range(5)], 2)
    with pytest.raises(InputError, match="row 0 of the batch has none"):
        make()(features(), flags(()))
