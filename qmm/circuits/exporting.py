"""OpenQASM 3 of a circuit: its parameters are the program's inputs."""

import re
from typing import NamedTuple

from qiskit import qasm3
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping

from qmm.quantum import Circuit, Probabilities

_NESTED = 12  # definitions within definitions; Qiskit's own gates have fewer
_WHOLE = {*get_standard_gate_name_mapping(), "barrier"}


class Program(NamedTuple):
    text: str
    """OpenQASM 3."""
    names: dict[str, str]
    """Parameter of the circuit -> the program's input; only letters, digits and _ make a name there."""


def to_qasm3(circuit: Circuit) -> Program:
    """The program prepares the state; comments in front tell which inputs are data, which are trained, and what is read out.

    Gates that are no standard ones are written as what they are made of. Read it again by `qiskit.qasm3.loads` (package
    qiskit-qasm3-import).
    """
    names: dict[str, str] = {}
    for parameter in (*circuit.inputs, *circuit.weights):
        plain = re.sub(r"\W", "_", parameter.name, flags=re.ASCII)
        plain = plain if plain[0].isalpha() else f"w{plain}"
        while "_" not in plain or plain in names.values():  # no keyword and no gate of OpenQASM has a _ in its name
            plain += "_"
        names[parameter.name] = plain
    renamed = circuit.quantum_circuit.assign_parameters(
        {p: Parameter(names[p.name]) for p in circuit.quantum_circuit.parameters}
    )
    text = qasm3.dumps(_standard(renamed))
    notes = [
        "inputs: " + (", ".join(names[p.name] for p in circuit.inputs) or "none"),
        "weights: " + (", ".join(names[p.name] for p in circuit.weights) or "none"),
        *_read_out(circuit),
    ]
    return Program("".join(f"// {note}\n" for note in notes) + text, names)


def _standard(circuit: QuantumCircuit) -> QuantumCircuit:
    """The same unitary of gates that OpenQASM knows, or Qiskit knows to define in it."""
    for _ in range(_NESTED):
        others = {item.operation.name for item in circuit.data} - _WHOLE
        if not others:
            break
        circuit = circuit.decompose(gates_to_decompose=list(others))
    return circuit


def _read_out(circuit: Circuit) -> list[str]:
    if isinstance(circuit.observables, Probabilities):
        return [f"read out: probabilities of the basis states of qubits {', '.join(map(str, circuit.observables.qubits))}"]
    terms = [" ".join(f"{c.real:+g} {label}" for label, c in o.to_list()) for o in circuit.observables]
    return [f"observable {i} (the first qubit is the rightmost): {text}" for i, text in enumerate(terms)]
