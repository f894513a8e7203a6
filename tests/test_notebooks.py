"""Every notebook runs from top to bottom, shows its pictures, and found what it speaks of; it is committed without output.

In the gate for seconds to a minute; `-m slow` runs them at full length, by QMM_NOTEBOOK_FULL, which each reads at its top.
"""

from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# jupyter_client warns of its own doings
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")


class Expected(NamedTuple):
    pictures: int
    facts: str
    """Run in the notebook's kernel, after its last cell."""


EXPECTED = {
    "quickstart": Expected(3, "assert result['test/accuracy'] > 0.5\nassert accuracy(batch) > accuracy(deaf) + 0.15"),
    "faster_qnn": Expected(2, "assert accuracy(test) > 0.75\nassert many.shape[0] == 256"),
    "fusion_circuit": Expected(
        9,
        """
assert outside < 1e-12 and largest[cone].min() > 1e-3 and 0.3 < cone.mean() < 0.9
assert torch.equal(without, elsewhere) and not torch.allclose(without, whole)
assert len(differences) == 3 and max(differences.values()) < 1e-6
assert count(smaller).gates < count(one).gates
entangling = table.set_index(['entangler', 'layers'])['entangling']
assert (entangling['Ring'] > entangling['NoEntangler'] + 0.1).all() and entangling.max() < haar + 0.02
assert Operator(bound_again).equiv(Operator(circuit.quantum_circuit.assign_parameters(known)))
assert 0.4 < slope < 0.95 and beyond.mean() > 0.1
""",
    ),
    "noise_and_mitigation": Expected(
        3,
        """
error = grouped['error'].mean()
assert result['test/accuracy'] > 0.8
assert error['shots alone'] < 0.6 * error['device'] and error[best] < 0.7 * error['device']
assert slopes['device'] < 0.9 < slopes['Clifford data regression'] and abs(slopes['shots alone'] - 1) < 0.03
assert compared[best].verdict == 'lower' and (table['shots'] >= SHOTS * SAMPLES).all()
""",
    ),
    "captions": Expected(
        5,
        """
assert losses.rows[-1] < losses.rows[0] / 2
assert grounded['place'] and grounded['event']
assert results['audio']['test/grounding_event'] < results['nothing']['test/grounding_event'] - 0.3
assert len(written) == len(batch.ids) and any(is_right(p.sentence, f) for p, f in zip(written, batch.targets['facts']))
assert set(examples) == {'greedy', 'beam', 'sample'}
""",
    ),
    "reading_a_study": Expected(
        3,
        """
assert len(table) == len(study.arms) * SEEDS * len(SIZES) and not outcome.failures
assert abs(counted - row['accuracy']) < 1e-6
verdicts = {claim.other: claim.verdict for claim in found}
assert verdicts['noisier'] == 'higher' and set(verdicts) == {'reordered', 'noisier'}
assert abs(same.mean) < 0.1 and same.detectable > 0 and enough >= 2
assert set(area_differences(curves, list(study.arms))) == set(verdicts)
""",
    ),
}


def run(path: Path, folder: Path, timeout: int) -> None:
    notebook: Any = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "clear the outputs before committing"
    notebook.cells.append(nbformat.v4.new_code_cell(EXPECTED[path.stem].facts))
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == EXPECTED[path.stem].pictures
    assert all(len(picture) > 2000 for picture in pictures)  # an empty figure's is smaller


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("QMM_NOTEBOOK_FULL", raising=False)
    run(path, tmp_path, timeout=300)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if "QMM_NOTEBOOK_FULL" in path.read_text()], ids=lambda path: path.stem
)
def test_runs_at_full_length(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("QMM_NOTEBOOK_FULL", "1")
    run(path, tmp_path, timeout=3600)


def test_the_six_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(EXPECTED)
