"""What the hybrid workflow saves: one model on one device with a queue, evaluated and trained without any of it, then with each
measure on top of those before it. Prints wall time, gates executed (QIN), circuits' own time (QCT), circuits and jobs, and
their ratios to the first line.

python benchmarks/workflow.py [--delay 0.2] [--samples 48] [--device fake_guadalupe] [--only readout quickstart]

readout     quickstart's encoders, two layers of which one register alone is read: part of it no observable feels
quickstart  configs/quickstart.yaml; a fifth of all modalities is missing
wide        the same with encoders of width 384 and six layers, which take longer than a job
training    quickstart, by SPSA with two repetitions

The device is simulated with its noise; each job waits `--delay` seconds in a queue, and then takes `--shot-time` for each shot.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import torch
from lightning import LightningDataModule, LightningModule
from qiskit.primitives import BaseSamplerV2, PrimitiveJob
from qiskit.primitives.containers.sampler_pub import SamplerPub
from torch import Tensor

import qmm.fusion.quantum
from qmm.circuits import SingleRegister
from qmm.costs.configuration import parse
from qmm.fusion import QuantumFusion
from qmm.quantum.backends import Evaluation
from qmm.quantum.execution import Aer, Jobs, PrimitiveBackend
from qmm.quantum.execution.jobs.ledger import Figures
from qmm.quantum.gradients import SPSA
from qmm.training.cli import instantiate
from qmm.types import Batch

T = TypeVar("T")
SCENARIOS = ["readout", "quickstart", "wide", "training"]
CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"


class Measures(NamedTuple):
    """What of the workflow is on."""

    name: str
    batches: bool = False
    """All samples of a circuit in one job, in place of a job for each."""
    light_cone: bool = False
    fold: bool = False
    together: bool = False
    """All circuits of a batch in one job."""
    ahead: bool = False
    """A gradient's circuits in the job of the values."""
    micro_batch: int | None = None


class Queued(BaseSamplerV2):
    """A sampler whose jobs wait before they run."""

    def __init__(self, sampler: BaseSamplerV2, delay: float, shot_time: float):
        self._sampler, self._delay, self._shot_time = sampler, delay, shot_time

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        listed = [SamplerPub.coerce(pub, shots) for pub in pubs]

        def wait_and_run() -> Any:
            taken, began = self._shot_time * sum(pub.size * pub.shots for pub in listed), time.perf_counter()
            result = self._sampler.run(listed).result()
            time.sleep(max(0.0, self._delay + taken - (time.perf_counter() - began)))
            return result

        job = PrimitiveJob(wait_and_run)
        job._submit()
        return job


class Device(Aer):
    """A simulated device with a queue."""

    def __init__(self, name: str, delay: float, shot_time: float):
        super().__init__(device=name)
        self.delay, self.shot_time = delay, shot_time

    def sampler(self, seed: int) -> BaseSamplerV2 | None:
        sampler = super().sampler(seed)
        return None if sampler is None else Queued(sampler, self.delay, self.shot_time)


class Row(NamedTuple):
    """The jobs of single samples, which are all done."""

    jobs: list[Any]

    def result(self) -> Tensor:
        return torch.cat([job.result() for job in self.jobs])

    def variances(self) -> Tensor:
        return torch.cat([job.variances() for job in self.jobs])


class Partly(PrimitiveBackend):
    """A backend with some of the measures."""

    def __init__(self, measures: Measures, device: Device, shots: int):
        super().__init__(device, shots=shots, jobs=Jobs(merge=True), simplify=measures.light_cone)
        self.measures = measures

    def submit_many(self, evaluations: Sequence[Evaluation]) -> Any:
        if self.measures.batches:
            return super().submit_many(evaluations)
        return [Row(list(self._one_by_one(evaluation))) for evaluation in evaluations]

    def _one_by_one(self, evaluation: Evaluation) -> Iterator[Any]:
        weights = evaluation.weights
        for row, inputs in enumerate(evaluation.inputs.split(1)):
            own = weights[row : row + 1] if weights.ndim == 2 else weights
            (job,) = super().submit_many([evaluation._replace(inputs=inputs, weights=own)])
            job.result()
            yield job

    def together(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        return super().together(tasks) if self.measures.together else [task() for task in tasks]

    def _request(self, evaluation: Evaluation, fold: bool = True) -> Any:
        return super()._request(evaluation, fold and self.measures.fold)


class Outcome(NamedTuple):
    seconds: float
    figures: Figures


def quickstart(samples: int, fusion: QuantumFusion | None = None, wide: bool = False) -> tuple[Any, Batch]:
    """The task of the configuration, and a batch of its data; with another fusion, as it is written, where one is given."""
    plain = parse(["--config", str(CONFIG)], "workflow")
    plain["data"]["init_args"] |= {
        "size": samples,
        "val_size": samples,
        "test_size": samples,
        "batch_size": samples,
        "missing": 0.2,
    }
    data = instantiate(LightningDataModule, plain["data"])
    model = plain["model"]["init_args"]["model"]
    model["decoder"]["init_args"] = {"classes": data.classes}
    if wide:
        for modality in data.modalities:
            shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 768}
            model[modality]["encoder"]["init_args"]["architecture"] |= shape
    task = instantiate(LightningModule, plain["model"])
    if fusion is not None:
        with mock.patch.object(qmm.fusion.quantum, "drop_unfelt", lambda circuit: circuit):
            fusion.build({m: branch.compressor.features for m, branch in task.model.branches.items()})
        task.model.fusion = fusion
        task.model.decoder.build(fusion.out_features)
    data.connect({m: branch.encoder.preprocess for m, branch in task.model.branches.items()})
    data.setup("test")
    return task, next(iter(data.test_dataloader()))


def run(task: Any, batch: Batch, measures: Measures, args: argparse.Namespace, training: bool) -> Outcome:
    """One batch, forward alone or with its gradients. What is transpiled, is transpiled before."""
    device = Device(args.device, 0.0, 0.0)
    backend = Partly(measures, device, args.shots)
    task.model.fusion.run_on(backend, SPSA(2, ahead=measures.ahead))
    task.model.micro_batch = measures.micro_batch
    task.train(training)
    spent = []
    for times in ((0.0, 0.0), (args.delay, 1e-6 * args.shot_time)):
        device.delay, device.shot_time = times
        torch.manual_seed(0)
        before, began = backend.ledger.snapshot(), time.perf_counter()
        with torch.set_grad_enabled(training):
            output = task(batch)
            if training:
                task.zero_grad()
                torch.stack(list(task.model.losses(output, batch).values())).sum().backward()
        spent.append(Outcome(time.perf_counter() - began, backend.ledger.snapshot() - before))
    return spent[-1]


def table(rows: list[tuple[str, Outcome]]) -> None:
    first = rows[0][1]
    kinds: list[tuple[str, Callable[[Outcome], float]]] = [
        ("wall s", lambda o: o.seconds),
        ("QIN", lambda o: o.figures.qin),
        ("QCT s", lambda o: o.figures.qct_seconds or 0.0),
        ("circuits", lambda o: o.figures.circuits),
        ("jobs", lambda o: o.figures.jobs),
    ]
    print("| | " + " | ".join(name for name, _ in kinds) + " |")
    print("|---" * (len(kinds) + 1) + "|")
    for name, outcome in rows:
        cells = [f"{of(outcome):,.3g} ({of(first) / of(outcome):,.3g}x)" for _, of in kinds]
        print(f"| {name} | " + " | ".join(cells) + " |")


def measures_of(training: bool, micro_batch: int) -> list[Measures]:
    """Each with those before it."""
    steps: list[tuple[str, dict[str, Any]]] = [
        ("a job for each sample, circuits as written", {}),
        ("+ gates that nothing feels removed", {"light_cone": True}),
        ("+ weights folded in", {"fold": True}),
        ("+ a job for each circuit of the batch", {"batches": True}),
        ("+ all circuits of the batch in one job", {"together": True}),
        ("+ the gradient's circuits in the same job", {"ahead": True}),
        (f"+ micro-batches of {micro_batch} encoded meanwhile", {"micro_batch": micro_batch}),
    ]
    wanted = [s for s in steps if not s[1].keys() & ({"fold"} if training else {"ahead"})]
    found, on = [], dict[str, Any]()
    for name, more in wanted:
        on |= more
        found.append(Measures(name, **on))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds that each job waits; default: 0.2")
    parser.add_argument("--shot-time", type=float, default=20.0, help="microseconds; default: 20")
    parser.add_argument("--samples", type=int, default=48, help="of the one batch; default: 48")
    parser.add_argument("--micro-batch", type=int, default=12, help="default: 12")
    parser.add_argument("--shots", type=int, default=1000, help="default: 1000")
    parser.add_argument("--device", default="fake_guadalupe", help="default: fake_guadalupe")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=SCENARIOS, help="default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.only:
        torch.manual_seed(0)
        fusion = QuantumFusion(2, readout=SingleRegister("text")) if name == "readout" else None
        task, batch = quickstart(args.samples, fusion, name == "wide")
        training = name == "training"
        times = f"{args.delay:g} s in the queue for each job, {args.shot_time:g} us for each shot"
        print(f"\n{name}, {args.samples} samples, {args.shots} shots, {args.device}, {times}")
        table([(m.name, run(task, batch, m, args, training)) for m in measures_of(training, args.micro_batch)])


if __name__ == "__main__":
    main()
