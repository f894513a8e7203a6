"""Content keys: what a request asks for, as a number that every process finds again."""

import hashlib
import threading
import uuid
from collections.abc import Iterator
from heapq import heappop, heappush
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
from qiskit.circuit import Barrier, Parameter, ParameterExpression, QuantumCircuit
from qiskit.quantum_info import Pauli, PauliList, SparsePauliOp

_REMEMBERED = 2**20  # requests whose repetitions are counted; about 150 MB


def content_key(*parts: Any) -> str:
    """The sha256, in hexadecimal, of numbers, texts, arrays, operators, circuits, and of what is composed of these.

    Circuits are told apart by their instructions and by the names of their parameters: not by the identity of these, nor by the
    names of registers. An object of another kind counts by what its class keeps of it, as pickle would.
    """
    found = hashlib.sha256()
    try:
        _feed(found, parts)
    except Exception:  # a user's class may raise anything here: its requests are new each time
        found.update(uuid.uuid4().bytes)
    return found.hexdigest()


def _feed(found: Any, value: Any) -> None:
    """Each value begins with its kind and its length, so that no two write the same bytes."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex | str):
        _write(found, type(value).__name__, repr(value).encode())
    elif isinstance(value, bytes):
        _write(found, "bytes", value)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        _write(found, f"array {value.dtype.str} {value.shape}", np.ascontiguousarray(value).tobytes())
    elif isinstance(value, QuantumCircuit):
        _feed(found, _circuit(value))
    elif isinstance(value, Parameter):
        _write(found, "parameter", value.name.encode())
    elif isinstance(value, ParameterExpression):
        _write(found, "expression", str(value).encode())
    elif isinstance(value, Pauli | PauliList):
        _feed(found, (type(value).__name__, value.z, value.x, np.asarray(value.phase)))
    elif isinstance(value, SparsePauliOp):
        _feed(found, ("SparsePauliOp", value.paulis, value.coeffs))
    else:
        _compound(found, value)


def _compound(found: Any, value: Any) -> None:
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        _write(found, "name", _name(value))
        return
    entries, kind = value, type(value)
    if isinstance(value, dict):
        entries = [part for pair in sorted(value.items(), key=lambda pair: repr(pair[0])) for part in pair]
    elif isinstance(value, set | frozenset):
        entries = sorted(value, key=repr)
    elif not isinstance(value, list | tuple):  # as pickle takes it apart, whose own bytes depend on what is shared in memory
        reduced, kind = value.__reduce_ex__(4), object
        entries = [reduced] if isinstance(reduced, str) else [list(p) if isinstance(p, Iterator) else p for p in reduced]
    _write(found, "several", _name(kind))
    _write(found, "length", str(len(entries)).encode())
    for entry in entries:
        _feed(found, entry)


def _name(value: Any) -> bytes:
    name = f"{value.__module__}.{value.__qualname__}"
    if "<" in name:
        raise TypeError(f"{name} has no name that another process would know")
    return name.encode()


def _write(found: Any, kind: str, content: bytes) -> None:
    found.update(f"{kind}:{len(content)}:".encode())
    found.update(content)


def _circuit(circuit: QuantumCircuit) -> tuple[Any, ...]:
    places = {bit: place for place, bit in enumerate((*circuit.qubits, *circuit.clbits))}
    lines: list[str] = []
    others: list[Any] = []
    for item in circuit.data:
        if item.is_standard_gate():
            own = " ".join([item.name, *map(_angle, item.params)])
        else:
            own = "other"
            others.append(_operation(item.operation))
        lines.append(f"{own} on {' '.join([str(places[bit]) for bit in (*item.qubits, *item.clbits)])}")
    names = [parameter.name for parameter in circuit.parameters]
    return "circuit", circuit.num_qubits, circuit.num_clbits, names, "\n".join(lines), others


def _angle(value: Any) -> str:
    if isinstance(value, ParameterExpression):
        return f"{type(value) is ParameterExpression} {str(value)!r}"
    return repr(float(value))


def _operation(operation: Any) -> tuple[Any, ...]:
    """Name, parameters (for control flow, its blocks) and, where these do not say all, what it is made of."""
    kind = type(operation)
    if kind is Barrier:
        return ("barrier",)
    own = (f"{kind.__module__}.{kind.__qualname__}", operation.name, list(getattr(operation, "params", ())))
    unit = getattr(operation, "unit", None) if operation.name == "delay" else None
    condition = getattr(operation, "condition", None)
    matrix = any(isinstance(parameter, np.ndarray) for parameter in own[2])  # whose definition would take a synthesis
    definition = None if matrix else getattr(operation, "definition", None)
    return (*own, unit, str(condition) if condition is not None else None, definition)


class Repetitions:
    """How often each key was asked for, so that equal requests stay independent of each other.

    A number whose request failed is given again to the next that asks for the same.
    """

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._returned: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def take(self, key: str) -> int:
        """0 for the first request of this key, 1 for the second, ..."""
        with self._lock:
            if returned := self._returned.get(key):
                number = heappop(returned)
                if not returned:
                    del self._returned[key]
                return number
            number = self._next.pop(key, 0)
            self._next[key] = number + 1
            if len(self._next) > _REMEMBERED:
                del self._next[next(iter(self._next))]
            return number

    def give_back(self, key: str, number: int) -> None:
        with self._lock:
            heappush(self._returned.setdefault(key, []), number)
