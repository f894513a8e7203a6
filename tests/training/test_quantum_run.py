"""What a run says before it sends circuits, what it keeps, and how it goes on after a failure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from qmm import Branch, MultimodalModel
from qmm.contracts import Fusion
from qmm.decoders import ClassDecoder, EmbeddingDecoder
from qmm.encoders import LinearCompressor, VectorEncoder
from qmm.fusion import ConcatFusion, KernelFusion, MixtureFusion, MultiEncoderFusion, QuantumFusion, QuantumSelfAttention
from qmm.fusion.kernels import ProjectedKernel
from qmm.quantum import Backend, ExactBackend, Gradient
from qmm.quantum.execution import Ideal, PrimitiveBackend
from qmm.quantum.gradients import SPSA, Allotment, LinearCombination, ParameterShift
from qmm.tasks import MultimodalClassification, MultimodalRetrieval
from qmm.training.quantum_plan import Work, plan_of
from qmm.training.quantum_use import QuantumUse, describe

Qmm = Callable[..., Any]
SHORT = ["--data.init_args.size", "24", "--data.init_args.missing", "0", "--pictures", "false"]
PROVIDER = '''
from qmm.quantum.execution import Ideal


class Unsteady(Ideal):
    """Fails for good after so many jobs."""

    left = None

    @property
    def name(self):
        return "unsteady"

    def sampler(self, seed):
        if Unsteady.left is not None:
            Unsteady.left -= 1
            if Unsteady.left < 0:
                raise RuntimeError("the fridge is warm")
        return super().sampler(seed)
'''


@pytest.fixture
def overlay(tmp_path: Path) -> Callable[..., list[str]]:
    """`overlay(shots=50)`: the flags of an overlay with a PrimitiveBackend of these arguments."""

    def write(gradient: Any = None, **arguments: Any) -> list[str]:
        arguments = {"primitive": {"class_path": "qmm.quantum.execution.Ideal"}, **arguments}
        backend = {"class_path": "qmm.quantum.execution.PrimitiveBackend", "init_args": arguments}
        spsa = {"class_path": "qmm.quantum.gradients.SPSA", "init_args": {"repetitions": 2}}
        model = {"backend": backend, "gradient": gradient or spsa}
        path = tmp_path / f"overlay{len(list(tmp_path.glob('overlay*')))}.yaml"
        path.write_text(yaml.safe_dump({"model": {"init_args": {"model": model}}}))
        return ["--config", str(path)]

    return write


def figures(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "quantum.json").read_text())


def test_a_run_takes_what_it_said_and_keeps_it(qmm: Qmm, tiny: list[str], overlay: Any, tmp_path: Path) -> None:
    said = qmm("fit", *tiny, *SHORT, *overlay(shots=20), "--runs", tmp_path, "--name", "shots").stdout
    assert "Circuits run on ideal device, 20 shots each." in said
    known = figures(tmp_path / "shots")
    assert known["backend"] == {
        "class": "PrimitiveBackend", "device": "ideal device", "shots": 20, "seed": 0, "simplify": True, "mitigation": []
    }  # fmt: skip
    plan, done = known["plan"], [known["fit"], known["test"]]
    assert f"This takes {plan['circuits']:,} circuits, {plan['shots']:,} shots: train 2 x 24 samples" in said
    for name in ("circuits", "shots"):
        assert plan[name] == sum(stage[name] for stage in done)
    # 24 samples with 1 + 2 * 2 points, 24 to check, twice 24 to validate, 24 to test
    assert plan["circuits"] == 2 * 24 * 5 + 24 + 2 * 24 + 24
    assert f"{done[0]['jobs']:,} jobs, {done[0]['circuits']:,} circuits, {done[0]['shots']:,} shots" in said
    history = pd.read_csv(tmp_path / "shots" / "history.csv")
    assert history["quantum/circuits"].tolist() == [24 * 5 + 24] * 2
    assert history["quantum/shots"].tolist() == [20 * (24 * 5 + 24)] * 2
    assert (history["quantum/gradient_weight_variance"] > 0).all()
    assert list((tmp_path / "shots" / "quantum" / "results").glob("*.npz"))


def test_nothing_is_sent_over_the_budget(qmm: Qmm, tiny: list[str], overlay: Any, tmp_path: Path) -> None:
    flags = [*overlay(shots=20, budget={"shots": 100}), "--runs", tmp_path, "--name", "poor"]
    refused = qmm("fit", *tiny, *SHORT, *flags, ok=False)
    assert "This takes" in refused.stdout
    assert "where the budget is 100" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((tmp_path / "poor" / "quantum").rglob("*.npz"))
    assert not (tmp_path / "poor" / "checkpoints" / "last.ckpt").exists()


def test_exact_runs_say_so(qmm: Qmm, trained: Path, tmp_path: Path) -> None:
    checkpoint = ["--ckpt_path", trained / "checkpoints" / "last.ckpt"]
    said = qmm("test", *checkpoint, "--runs", tmp_path, "--name", "exact", "--pictures", "false").stdout
    assert "Circuits run exactly." in said
    assert not (tmp_path / "exact" / "quantum.json").exists()


def test_evaluations_and_predictions_say_what_they_take(qmm: Qmm, trained: Path, overlay: Any, tmp_path: Path) -> None:
    checkpoint = ["--ckpt_path", trained / "checkpoints" / "last.ckpt", *overlay(shots=20)]
    for command in ("validate", "test"):
        whole = ["--data.init_args.missing", "0", "--pictures", "false"]
        said = qmm(command, *checkpoint, *whole, "--runs", tmp_path, "--name", "evaluated").stdout
        assert f"This takes 24 circuits, 480 shots: {command} 24 samples, if every sample has all modalities." in said
        assert figures(tmp_path / "evaluated")[command]["shots"] == 480
    files = ["--text", "they went to bed"]
    predicted = qmm("predict", *checkpoint, *files)
    assert "This takes 1 circuits, 20 shots: predict 1 samples" in predicted.stderr
    assert "1 jobs, 1 circuits, 20 shots" in predicted.stderr
    assert "Circuits" not in predicted.stdout
    poor = qmm("predict", *checkpoint, *overlay(shots=20, budget={"shots": 10}), *files, ok=False)
    assert "where the budget is 10" in poor.stderr


@pytest.fixture
def unsteady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user's own provider, in a module of its own."""
    (tmp_path / "fridge").mkdir()
    (tmp_path / "fridge" / "unsteady_fridge.py").write_text(PROVIDER)
    monkeypatch.syspath_prepend(tmp_path / "fridge")
    import unsteady_fridge  # type: ignore[import-not-found]

    return unsteady_fridge.Unsteady


def test_a_job_that_fails_for_good_loses_nothing(
    qmm: Qmm, tiny: list[str], overlay: Any, unsteady: Any, tmp_path: Path
) -> None:
    def metrics(name: str) -> dict[str, float]:
        return json.loads((tmp_path / name / "test" / "metrics.json").read_text())["metrics"]

    provider = {"class_path": "unsteady_fridge.Unsteady"}
    flags = [*tiny, *SHORT, *overlay(primitive=provider, shots=20, jobs={"attempts": 1}), "--runs", tmp_path]
    qmm("fit", *flags, "--name", "whole")
    for left, how, again in ((3, "by the same command", []), (14, "with `--ckpt_path last`", ["--ckpt_path", "last"])):
        name, unsteady.left = f"broken{left}", left  # in the first epoch, and in the second
        failed = qmm("fit", *flags, "--name", name, ok=False)
        unsteady.left = None
        assert "the fridge is warm" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert f"Continue {how}" in failed.stdout
        before = figures(tmp_path / name)["fit"]
        qmm("fit", *flags, "--name", name, *again)
        assert metrics(name) == metrics("whole")
        after = figures(tmp_path / name)["fit"]
        assert after["found_circuits"] > 0
        assert before["circuits"] + after["circuits"] == figures(tmp_path / "whole")["fit"]["circuits"]


def task(fusion: Fusion, backend: Backend | None, gradient: Gradient | None = None, retrieval: bool = False) -> Any:
    torch.manual_seed(0)
    branches: Any = {m: Branch(VectorEncoder(3, [4]), LinearCompressor(2)) for m in ("vision", "audio")}
    decoder = EmbeddingDecoder(3) if retrieval else ClassDecoder(["a", "b"])
    model = MultimodalModel(fusion, decoder, **branches, backend=backend, gradient=gradient)
    return MultimodalRetrieval(model) if retrieval else MultimodalClassification(model)


@pytest.mark.parametrize(
    ("fusion", "gradient", "retrieval"),
    [
        (lambda: QuantumFusion(1), ParameterShift(), False),
        (lambda: QuantumFusion(1), ParameterShift(ahead=True), False),
        (lambda: QuantumFusion(1), ParameterShift(shots=7, allotment=Allotment()), False),
        (lambda: QuantumFusion(1), SPSA(3), False),
        (lambda: QuantumFusion(1), LinearCombination(), False),
        (lambda: QuantumFusion(1), SPSA(ahead=True), True),
        (QuantumSelfAttention, SPSA(ahead=True), False),
        (lambda: MultiEncoderFusion(1), SPSA(ahead=True), True),
        (MixtureFusion, SPSA(ahead=True), False),
        (lambda: KernelFusion(3, ProjectedKernel(layers=1)), SPSA(ahead=True), False),
    ],
)
def test_plans_are_what_is_sent(fusion: Callable[[], Fusion], gradient: Gradient, retrieval: bool) -> None:
    backend = PrimitiveBackend(Ideal(), shots=10)
    made = task(fusion(), backend, gradient, retrieval)
    works = [Work("train", 5, 2, 2), Work("validate", 3, 2)]
    plan = plan_of(made, works)
    assert plan is not None
    assert backend.ledger.snapshot().jobs == 0
    assert made.model.fusion.backend is backend
    assert made.model.fusion.gradient is gradient

    def rows(number: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        angles = {m: (torch.rand(number, 2) + 0.5).requires_grad_() for m in ("vision", "audio")}
        return angles, {m: torch.ones(number, dtype=torch.bool) for m in angles}

    for number in (2, 2, 1) * 2:
        fused = made.fuse(*rows(number))
        (fused * torch.rand_like(fused)).sum().backward()
    with torch.no_grad():
        for number in (2, 1):
            made.fuse(*rows(number))
    ran = backend.ledger.snapshot()
    assert plan.circuits == ran.circuits
    if getattr(gradient, "allotment", None) is None:
        assert plan.shots == ran.shots
    else:  # where shots go depends on what is measured
        assert plan.shots == pytest.approx(ran.shots, rel=0.2)


def test_what_is_not_trained_is_not_planned() -> None:
    def shots(**frozen: bool) -> int:
        made = task(QuantumFusion(1), PrimitiveBackend(Ideal(), shots=10), ParameterShift())
        made.model.fusion.requires_grad_(not frozen.get("fusion"))
        for branch in made.model.branches.values():
            branch.requires_grad_(not frozen.get("branches"))
        found = plan_of(made, [Work("train", 4, 4)])
        assert found is not None
        return found.shots

    assert shots() > shots(branches=True) > shots(branches=True, fusion=True) == 4 * 10


def test_where_circuits_run_in_words_and_as_data() -> None:
    assert QuantumUse(task(QuantumFusion(1), None)).where() == "Circuits run exactly."
    assert QuantumUse(task(QuantumFusion(1), ExactBackend())).where() == "Circuits run exactly."
    assert not QuantumUse(task(ConcatFusion(4, 3), None)).has_circuits
    from qmm.quantum.mitigation import PauliTwirling, Trex

    mitigated = PrimitiveBackend(Ideal(), mitigation=[Trex(), PauliTwirling()])
    said = QuantumUse(task(QuantumFusion(1), mitigated)).where()
    assert said == "Circuits run on ideal device, 1,000 shots each, with PauliTwirling, Trex."
    from qmm.quantum.scaling import CutBackend

    cut = CutBackend({"vision": PrimitiveBackend(Ideal()), "audio": PrimitiveBackend(Ideal())})
    assert QuantumUse(task(QuantumFusion(1), cut)).where().startswith("Circuits run on ideal device, 1,000 shots each")
    assert describe(cut)["backends"]["audio"]["device"] == "ideal device"
    assert plan_of(task(QuantumFusion(1), ExactBackend()), [Work("test", 3, 2)]) is None
