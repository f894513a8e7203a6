"""Steps of diagonal gates: tables of their factors, built from the highest qubit down, and their gradients."""

from qmm.quantum.kernels import rows
from qmm.quantum.kernels.loops import inner, set_row, walsh_hadamard


@inner
def _entry(gates, gate, qubits, entries, prefix, lowest):
    """The gate's entry on the basis states whose bits from `lowest` up are `prefix`."""
    index, first = 0, gates[gate, 2]
    for i in range(gates[gate, 1]):
        index |= ((prefix >> (qubits[first + i] - lowest)) & 1) << i
    return entries[gates[gate, 3] + index]


@inner
def shared_table(phases, step, n, cosines, sines, table):
    """(2 N,): the complex factors of the step's gates that are the same for all samples."""
    gates, qubits, entries = phases.gates, phases.qubits, phases.entries
    gate, end = phases.steps[step, 0], phases.steps[step, 1]
    table[0], table[1] = 1.0, 0.0
    for lowest in range(n - 1, -1, -1):
        last = gate
        while last < end and gates[last, 0] == lowest:
            last += 1
        for prefix in range((2 << (n - 1 - lowest)) - 1, -1, -1):
            parent = prefix >> 1 << 1
            re, im = table[parent], table[parent + 1]
            for g in range(gate, last):
                entry = _entry(gates, g, qubits, entries, prefix, lowest)
                if entry != 0:
                    slot = abs(entry) - 1
                    cos, sin = cosines[slot], sines[slot] if entry < 0 else -sines[slot]
                    re, im = re * cos - im * sin, re * sin + im * cos
            table[2 * prefix], table[2 * prefix + 1] = re, im
        gate = last


@inner
def sample_table(phases, step, n, trig, table, lanes):
    """A state-like table of the factors that differ from sample to sample."""
    gates, qubits, entries = phases.gates, phases.qubits, phases.entries
    gate, end = phases.steps[step, 1], phases.steps[step, 2]
    set_row(table, 0, lanes, 1.0)
    set_row(table, 1, lanes, 0.0)
    for lowest in range(n - 1, -1, -1):
        last = gate
        while last < end and gates[last, 0] == lowest:
            last += 1
        for prefix in range((2 << (n - 1 - lowest)) - 1, -1, -1):
            rows.copy_row(table, prefix, table, prefix >> 1)
            for g in range(gate, last):
                entry = _entry(gates, g, qubits, entries, prefix, lowest)
                if entry > 0:
                    rows.phase_minus(table, prefix, trig, entry - 1)
                elif entry < 0:
                    rows.phase_plus(table, prefix, trig, -entry - 1)
        gate = last


@inner
def multiply(state, table, count, conj):
    if conj:
        for row in range(count):
            rows.multiply_conj(state, row, table)
    else:
        for row in range(count):
            rows.multiply(state, row, table)


@inner
def multiply_shared(state, table, first, count, conj):
    if conj:
        for row in range(count):
            rows.multiply_shared_conj(state, row, table, first + row)
    else:
        for row in range(count):
            rows.multiply_shared(state, row, table, first + row)


@inner
def gradient(phases, step, n, psi, lam, work, angles):
    """Im <lam|D|psi> of each gate's diagonal generator D, a sum of Z strings, added to its slots."""
    first, size = phases.steps[step, 5], phases.steps[step, 6]
    qubits, terms, factors = phases.qubits, phases.terms, phases.factors
    if size == n:
        for row in range(1 << n):
            rows.cross(work, row, psi, lam)
    else:
        work[: len(work) >> (n - size + 1)] = 0
        for row in range(1 << n):
            index = 0
            for i in range(size):
                index |= ((row >> qubits[first + i]) & 1) << i
            rows.add_cross(work, index, psi, lam, row)
    walsh_hadamard(work, size)
    for term in range(phases.steps[step, 3], phases.steps[step, 4]):
        rows.add_scaled(angles, terms[term, 0], work, terms[term, 1], factors, term)
