"""How registers meet: pairs as drawn, and every instruction across two registers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmm.fusion.entanglers import cx_ring, register_ring, rzz_couplings, side_by_side
from qmm.registers import RegisterLayout


@pytest.mark.parametrize(
    ("sizes", "ring", "couplings"),
    [
        ([3], [], []),
        ([1, 1], [(0, 1)], [(0, 1)]),
        ([2, 2], [(1, 2), (3, 0)], [(0, 2), (1, 3)]),
        ([1, 3], [(0, 1), (3, 0)], [(0, 1), (0, 2), (0, 3)]),
        ([2, 1, 2], [(1, 2), (2, 3), (4, 0)], [(0, 2), (1, 2), (0, 3), (1, 4), (2, 3), (2, 4)]),
    ],
)
def test_pairs(sizes, ring, couplings):
    layout = RegisterLayout({str(i): size for i, size in enumerate(sizes)})
    assert list(register_ring(layout)) == ring
    assert list(side_by_side(layout)) == couplings


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_every_instruction_touches_two_registers(sizes):
    layout = RegisterLayout({str(i): size for i, size in enumerate(sizes)})
    couplings = rzz_couplings(layout)
    for circuit in (cx_ring(layout), couplings):
        assert circuit.num_qubits == layout.n_qubits
        for item in circuit.data:
            assert len({layout.owner(circuit.find_bit(q).index) for q in item.qubits}) == 2
    touched = {layout.owner(couplings.find_bit(q).index) for item in couplings.data for q in item.qubits}
    assert touched == set(layout.modalities)
