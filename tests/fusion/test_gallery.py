"""The gallery shows all that is exported, with pictures and numbers of its own, and asks for nothing outside itself."""

import base64
import re

import pytest

import qmm.circuits
import qmm.fusion
from qmm.circuits import Ansatz, FeatureMap, Readout
from qmm.contracts import Fusion
from qmm.fusion import Entangler
from qmm.fusion.gallery import entries, members, write_gallery

BASES = {qmm.circuits: (FeatureMap, Ansatz, Readout), qmm.fusion: (Entangler, Fusion)}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return write_gallery(tmp_path_factory.mktemp("gallery")).read_text(encoding="utf-8")


def test_every_exported_member_stands_in_it(page):
    for module, bases in BASES.items():
        for name in module.__all__:
            found = getattr(module, name)
            if isinstance(found, type) and issubclass(found, bases) and found not in bases:
                assert f"<code>{module.__name__}.{name}</code>" in page


def test_every_circuit_is_a_picture_in_the_page(page):
    drawn = sum(len(entry.circuits) for entry in entries())
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(pictures) == drawn > 40
    assert all(b"<svg" in base64.b64decode(picture) for picture in pictures)
    assert not re.search(r'(src|href)="(?!data:|#|https://(arxiv|doi|openreview)\.)', page)


def test_numbers_are_qiskits():
    by_name = {entry.member.__name__: entry for entry in entries()}
    for entry in by_name.values():
        if "two-qubit gates" in entry.facts:
            (circuit,) = entry.circuits.values()
            assert int(entry.facts["two-qubit gates"]) == circuit.num_nonlocal_gates()
            assert int(entry.facts["depth"]) == circuit.depth()
    assert by_name["ZReadout"].facts["measurement settings"] == "1"
    assert by_name["ConcatFusion"].circuits == {}


def test_abstract_bases_are_no_members():
    assert FeatureMap not in members("Feature maps")
    assert Entangler not in members("Entanglers: across registers")
