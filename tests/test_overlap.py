"""Micro-batches change when things are computed, and nothing else."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn

from qmm import Branch, MultimodalModel
from qmm.contracts import Fusion
from qmm.data import ScenesDataModule
from qmm.decoders import ClassDecoder, EmbeddingDecoder
from qmm.encoders import LinearCompressor, TextEncoder, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, KernelFusion, MixtureFusion, MultiEncoderFusion, QuantumFusion, QuantumSelfAttention
from qmm.loading import load
from qmm.quantum import Adjoint, Backend, CircuitError, CompiledCircuit, ExactBackend, ExactEstimator, Gradient
from qmm.quantum.background import in_background
from qmm.quantum.execution import Ideal, Jobs, PrimitiveBackend
from qmm.tasks import MultimodalClassification, MultimodalRetrieval
from qmm.types import Batch, Features, ModelOutput, Padded

MODALITIES = ("vision", "audio", "text")
PRESENT = [(1, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)]  # rows 2 to 4 know no text
FUSIONS: list[Callable[[], Fusion]] = [
    lambda: QuantumFusion(2, reupload=True),
    QuantumSelfAttention,
    MixtureFusion,
    MultiEncoderFusion,
    KernelFusion,
    lambda: ConcatFusion(6, 5),
]


class Watched(Backend):
    """Runs exactly, when it may: `wait` is called in each job, in the thread that wants its result."""

    def __init__(self, wait: Callable[[], Any] = lambda: None):
        self.wait, self.jobs = wait, 0

    @property
    def gradient(self) -> Gradient:
        return Through()

    def submit(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Any:
        raise NotImplementedError


class Through(Gradient):
    def values(self, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        assert isinstance(backend, Watched)
        backend.jobs += 1
        backend.wait()
        return Adjoint().values(ExactBackend(), circuit, inputs, weights)


def make(fusion: Fusion, micro_batch: int | None = None, backend: Backend | None = None, auxiliary: float = 0.5):
    torch.manual_seed(0)
    branches: Any = {m: Branch(VectorEncoder(5, [4]), LinearCompressor(3), auxiliary) for m in MODALITIES}
    return MultimodalModel(fusion, ClassDecoder(["a", "b", "c"]), **branches, backend=backend, micro_batch=micro_batch)


def a_batch(rows: Sequence[tuple[int, ...]] = PRESENT) -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs = {m: Padded(torch.randn(len(rows), 5, generator=generator)) for m in MODALITIES}
    present = {m: torch.tensor([bool(row[i]) for row in rows]) for i, m in enumerate(MODALITIES)}
    return Batch(inputs, present, {"label": torch.arange(len(rows)) % 3}, [str(i) for i in range(len(rows))])


def gradients(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    torch.stack(list(model.losses(model(batch), batch).values())).sum().backward()  # type: ignore[operator]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def tensors(output: ModelOutput) -> list[Tensor]:
    pooled = [None if features is None else features.pooled for features in output.features.values()]
    return [t for t in (*pooled, *output.angles.values(), output.fused, output.prediction) if t is not None]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_outputs_and_gradients_are_those_of_the_whole_batch(fusion: Callable[[], Fusion], size: int) -> None:
    batch = a_batch()
    whole, parts = make(fusion()).eval(), make(fusion(), size).eval()
    parts.load_state_dict(whole.state_dict())
    for ours, theirs in zip(tensors(parts(batch)), tensors(whole(batch)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
    expected = gradients(whole, batch)
    found = gradients(parts, batch)
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=2e-6, rtol=1e-5, msg=name)


def test_every_run_rounds_alike() -> None:
    model, batch = make(QuantumFusion(2), 2).eval(), a_batch()
    first = gradients(model, batch)
    for _ in range(20):
        for name, gradient in gradients(model, batch).items():
            assert torch.equal(gradient, first[name]), name


def overlapping(branch: Branch) -> Callable[[], Any]:
    """What jobs wait for: that the second micro-batch is being encoded, which waits for a job to be under way."""
    running, encoding, calls = threading.Event(), threading.Event(), []

    def encode(module: nn.Module, inputs: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            assert running.wait(60), "no job had begun when the second micro-batch came"
            encoding.set()

    def job() -> None:
        running.set()
        assert encoding.wait(60), "nothing was encoded while the job ran"

    branch.encoder.register_forward_pre_hook(encode)
    return job


@pytest.mark.parametrize("fusion", FUSIONS[:-2])
def test_the_next_rows_are_encoded_while_circuits_run(fusion: Callable[[], Fusion]) -> None:
    backend = Watched()
    model = make(fusion(), 2, backend).eval()
    backend.wait = overlapping(model.branches["vision"])
    batch = a_batch([(1, 1, 1)] * 6)
    found = gradients(model, batch)
    backend.wait = lambda: None
    model.micro_batch = None
    for name, gradient in gradients(model, batch).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_retrieval_overlaps_and_finds_the_same() -> None:
    def task(size: int | None, backend: Backend | None = None) -> MultimodalRetrieval:
        torch.manual_seed(0)
        branches: Any = {m: Branch(VectorEncoder(5, [4]), LinearCompressor(3)) for m in MODALITIES}
        model = MultimodalModel(QuantumFusion(1), EmbeddingDecoder(4), **branches, backend=backend, micro_batch=size)
        return MultimodalRetrieval(model).eval()

    backend = Watched()
    whole, parts, batch = task(None), task(2, backend), a_batch()
    backend.wait = overlapping(parts.model.branches["vision"])
    ours, theirs = parts(batch), whole(batch)
    torch.testing.assert_close(ours.fused, theirs.fused)
    for name, view in theirs.prediction.sides.items():
        torch.testing.assert_close(ours.prediction.sides[name].embeddings, view.embeddings)


@pytest.mark.parametrize("enter", [torch.enable_grad, torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu")])
def test_fusions_run_in_the_callers_modes(enter: Callable[[], Any]) -> None:
    def modes() -> tuple[Any, ...]:
        autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *autocast

    seen: list[tuple[Any, ...]] = []
    model = make(ConcatFusion(6, 5), 3)
    model.fusion.register_forward_pre_hook(lambda *_: seen.append(modes()))
    with enter():
        expected = modes()
        output = model(a_batch())
    assert seen == [expected] * 3
    assert output.fused.requires_grad == expected[0]
    assert output.fused.is_inference() == expected[1]


def test_random_numbers_are_drawn_in_order() -> None:
    def once() -> Tensor:
        model = make(QuantumFusion(1), 2)
        for branch in model.branches.values():
            branch.encoder.register_forward_hook(lambda m, i, o: Features(nn.functional.dropout(o.pooled, 0.5)))
        torch.manual_seed(3)
        return model(a_batch()).fused

    first = once()
    assert all(torch.equal(once(), first) for _ in range(5))


def under_way() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "qmm-fusion"]


def test_after_an_error_in_a_circuit_nothing_is_begun() -> None:
    def refuse() -> None:
        raise CircuitError("the device is on fire")

    backend, calls = Watched(refuse), []
    model = make(QuantumFusion(1), 1, backend)

    def encode(module: nn.Module, inputs: Any) -> None:
        calls.append(1)
        for thread in under_way():
            thread.join(60)

    model.branches["vision"].encoder.register_forward_pre_hook(encode)
    with pytest.raises(CircuitError, match="on fire"):
        model(a_batch([(1, 1, 1)] * 50))
    assert backend.jobs == 1
    assert len(calls) == 2
    assert not under_way()


def test_an_error_of_an_encoder_waits_for_what_is_under_way() -> None:
    backend, model, calls = Watched(), make(QuantumFusion(1), 1), []
    model.fusion.run_on(backend)
    failed = threading.Event()
    backend.wait = lambda: failed.wait(60)

    def fail(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            failed.set()
            raise ZeroDivisionError

    model.branches["vision"].encoder.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        model(a_batch([(1, 1, 1)] * 5))
    assert backend.jobs == 2
    assert not under_way()


def test_what_a_thread_raises_is_its_results() -> None:
    def leave() -> None:
        raise SystemExit(3)

    assert in_background(lambda: 5).result() == 5
    with pytest.raises(SystemExit):
        in_background(leave).result()


def test_batches_without_rows_and_modalities_without_samples() -> None:
    model = make(QuantumFusion(1), 2, auxiliary=0)
    assert model(a_batch([])).fused.shape == (0, model.fusion.out_features)
    output = model(a_batch([(1, 0, 0)] * 3))
    assert output.features["audio"] is None
    assert not output.angles["audio"].any()


@pytest.mark.parametrize("size", [0, -3])
def test_impossible_sizes(size: int) -> None:
    with pytest.raises(InputError, match=f"micro_batch={size}"):
        make(QuantumFusion(1), size)


def test_it_trains_and_checkpoints_do_not_tell(make_trainer: Callable[..., Trainer], tmp_path) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    data = ScenesDataModule(size=24, val_size=12, test_size=12, batch_size=12, modalities=["text"])
    text = Branch(TextEncoder(shape, max_length=32), LinearCompressor(2))
    model = MultimodalModel(QuantumFusion(1), ClassDecoder(data.classes), text=text, micro_batch=5, backend=Watched())
    trainer = make_trainer(num_sanity_val_steps=0)
    trainer.fit(MultimodalClassification(model), datamodule=data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    assert model.fusion.backend.jobs == 2 * 3 + 3
    again = load(tmp_path / "x.ckpt").model
    assert again.micro_batch is None
    assert again.fusion.backend is None


class Held(ExactEstimator):
    """Its first job ends when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs, self.may_end = 0, threading.Event()

    def run(self, pubs: Any, *, precision: float | None = None) -> Any:
        self.jobs += 1
        assert self.may_end.wait(60)
        return super().run(pubs, precision=precision)


def test_what_comes_while_a_job_is_under_way_goes_together() -> None:
    estimator, submitted = Held(), []
    backend = PrimitiveBackend(estimator, jobs=Jobs(merge=True))
    submit = backend.dispatcher.submit

    def counted(requests: Any) -> Any:
        future = submit(requests)
        submitted.append(1)
        if len(submitted) == 4:  # the first is under way, or will be; three wait
            estimator.may_end.set()
        return future

    backend.dispatcher.submit = counted  # type: ignore[method-assign]
    model = make(QuantumFusion(1), 2, backend).eval()
    with torch.inference_mode():
        fused = model(a_batch([(1, 1, 1)] * 8)).fused
        model.fusion.run_on()
        torch.testing.assert_close(fused, model(a_batch([(1, 1, 1)] * 8)).fused, atol=1e-5, rtol=0)
    assert estimator.jobs in (1, 2)


def test_shots_do_not_depend_on_timing() -> None:
    def once() -> dict[str, Tensor]:
        backend = PrimitiveBackend(Ideal(), shots=20)
        return gradients(make(QuantumSelfAttention(), 2, backend).eval(), a_batch())

    first = once()
    for _ in range(3):
        for name, gradient in once().items():
            assert torch.equal(gradient, first[name]), name
