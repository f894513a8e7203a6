from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmm import RegisterLayout
from qmm.errors import InputError

layouts = st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 6), min_size=1, max_size=5).map(RegisterLayout)


@given(layouts)
def test_registers_tile_the_qubits_in_order(layout: RegisterLayout) -> None:
    qubits = list(chain.from_iterable(layout.qubits(m) for m in layout.modalities))
    assert qubits == list(range(layout.n_qubits))
    assert all(q in layout.qubits(layout.owner(q)) for q in qubits)


@given(layouts, st.data())
def test_restricting_keeps_order_and_sizes(layout: RegisterLayout, data: st.DataObject) -> None:
    present = data.draw(st.sets(st.sampled_from(layout.modalities), min_size=1))
    part = layout.restrict(present)
    assert part.modalities == tuple(m for m in layout.modalities if m in present)
    assert all(len(part.qubits(m)) == len(layout.qubits(m)) for m in present)


def test_order_makes_a_difference() -> None:
    assert RegisterLayout({"a": 1, "b": 2}) != RegisterLayout({"b": 2, "a": 1})
    assert RegisterLayout({"a": 1, "b": 2}) == RegisterLayout({"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("sizes", "message"), [({}, "at least one modality"), ({"vision": 0}, "'vision' has 0 qubits"), ({"audio": -1}, "-1")]
)
def test_empty_registers_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RegisterLayout(sizes)


def test_unknown_modality_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'smell'.*vision, audio"):
        RegisterLayout({"vision": 1, "audio": 1}).qubits("smell")
