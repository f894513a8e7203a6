"""AdaInit on landscapes whose variance is known, with every proposer; on circuits against finite differences."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.initialisers import (
    AdaInit,
    Bayesian,
    CircuitLandscape,
    EvolutionStrategy,
    Landscape,
    LanguageModel,
    Proposer,
    SmallAngle,
    Task,
    Uniform,
)
from qmm.initialisers.language_proposer import parse_angles
from qmm.language.tokenizer import SentenceTokenizer
from qmm.quantum import Circuit


class Bowl(Landscape):
    """Variance 1 - |w - 1|**2 / (2 W), but for what lies far away: best, and 1, where all weights are 1."""

    depth = 3

    def __init__(self, size: int, n_qubits: int = 2):
        self.size, self.n_qubits = size, n_qubits

    def gradients(self, weights: Tensor) -> Tensor:
        variance = (1 - (weights - 1).square().mean(dim=1) / 2).clamp_min(1e-6)
        entries = torch.tensor([[1.0], [-1.0]], dtype=torch.float64) * (variance[:, None, None] / 2).sqrt()
        return entries.expand(-1, -1, self.size) * math.sqrt((2 * self.size - 1) / self.size)  # unbiased


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def circuit(layers: int = 2) -> Circuit:
    fusion = QuantumFusion(layers)
    fusion.build({"vision": 2, "audio": 2})
    return fusion.circuit()


def test_the_bowl_is_what_it_says() -> None:
    weights = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(Bowl(3).variances(weights), torch.tensor([1.0, 1 - 1 / 6], dtype=torch.float64))


@pytest.mark.parametrize("proposer", [EvolutionStrategy(), EvolutionStrategy(population=6), Bayesian(trials=3, random=4)])
@pytest.mark.parametrize("size", [1, 3])
def test_proposers_climb(proposer: Proposer, size: int) -> None:
    start = torch.zeros(size, dtype=torch.float64)
    found = AdaInit(proposer, rounds=15, patience=15).search(Bowl(size), start, generator())
    assert found.kept[0] == (0, pytest.approx(0.5))
    assert float(Bowl(size).variances(found.weights[None])[0]) == found.kept[-1][1]
    assert found.kept[-1][1] > 0.9
    steps = np.diff([variance for _, variance in found.kept])
    assert (steps >= found.threshold).all()
    assert found.threshold == pytest.approx(0.5 / (2**2 * 15))
    again = AdaInit(proposer, rounds=15, patience=15).search(Bowl(size), start, generator())
    assert torch.equal(again.weights, found.weights)


class Scripted(Proposer):
    """Proposes weights whose variance in `Bowl(1)` is known."""

    def __init__(self, variances: list[float]):
        self.script = variances

    def begin(self, task: Task, start: Tensor, variance: float) -> None:
        self.left, self.seen = list(self.script), [variance]

    def propose(self) -> Tensor:
        return torch.tensor([[1 - math.sqrt(2 * (1 - self.left.pop(0)))]], dtype=torch.float64)

    def observe(self, proposals: Tensor, variances: Tensor) -> None:
        self.seen += variances.tolist()


def test_only_rises_above_the_threshold_are_kept_and_patience_ends() -> None:
    """From 0.5, by at least 1 / (2**1 * 10) = 0.05: not 0.54, but 0.56, and 0.70; then nothing for three rounds."""
    proposer = Scripted([0.54, 0.56, 0.3, 0.70, 0.74, 0.6, 0.72, 0.99])
    search = AdaInit(proposer, rounds=10, patience=3, degree=1, unit="one")
    found = search.search(Bowl(1), torch.zeros(1, dtype=torch.float64), generator())
    assert found.threshold == pytest.approx(0.05)
    assert [place for place, _ in found.kept] == [0, 2, 4]
    assert [variance for _, variance in found.kept] == pytest.approx([0.5, 0.56, 0.70])
    assert (found.rounds, found.evaluations) == (7, 8)
    assert proposer.seen == pytest.approx([0.5, 0.54, 0.56, 0.3, 0.70, 0.74, 0.6, 0.72])


def test_gradients_of_a_circuit_are_those_of_finite_differences() -> None:
    x, a, b = map(Parameter, "xab")
    drawn = QuantumCircuit(2)
    drawn.rx(x, 0)
    drawn.ry(a, 0)
    drawn.cx(0, 1)
    drawn.rx(b, 1)
    read = Circuit.of(drawn, [x], [a, b], ["ZI", "IZ"])
    inputs = torch.tensor([[0.3], [-1.1]], dtype=torch.float64)
    weights = torch.tensor([[0.4, 0.7], [2.0, -0.5]], dtype=torch.float64)
    found = CircuitLandscape(read, inputs).gradients(weights)

    def value(angle: float, row: np.ndarray) -> float:
        state = Statevector(drawn.assign_parameters({x: angle, a: row[0], b: row[1]}))
        return float(np.mean([state.expectation_value(SparsePauliOp(label)).real for label in ("ZI", "IZ")]))

    for i, row in enumerate(weights.numpy()):
        for j, (angle,) in enumerate(inputs.tolist()):
            steps = 1e-5 * np.eye(2)
            slopes = [(value(angle, row + step) - value(angle, row - step)) / 2e-5 for step in steps]
            np.testing.assert_allclose(found[i, j].numpy(), slopes, atol=1e-8)


def test_starts_of_a_circuit_vary_more_than_those_drawn() -> None:
    search = AdaInit(initialiser=Uniform(), rounds=6)
    starts = search.draw(circuit(), generator(), 2)
    assert starts.shape == (2, len(circuit().weights))
    assert not torch.allclose(starts[0], starts[1])
    assert torch.equal(starts, AdaInit(initialiser=Uniform(), rounds=6).draw(circuit(), generator(), 2))
    inputs = torch.from_numpy(np.random.default_rng(0).uniform(-3, 3, (64, 4)))
    landscape = CircuitLandscape(circuit(), inputs)  # other inputs than those that were searched on
    drawn = Uniform().draw(circuit(), generator(), 64)
    assert landscape.variances(starts).min() > landscape.variances(drawn).mean()


def test_wrong_settings() -> None:
    for make in (lambda: AdaInit(rounds=0), lambda: AdaInit(unit="two"), lambda: EvolutionStrategy(spread=0)):
        with pytest.raises(InputError):
            make()
    with pytest.raises(InputError, match="candidates=1"):
        Bayesian(candidates=1)
    with pytest.raises(InputError, match="at least 1"):
        LanguageModel("x", answers=0)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama that knows nothing, with its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = SentenceTokenizer.train(["[0.123, -1.456, 2.789, 3.0]", "propose angles"], 300)
    from tokenizers import Tokenizer

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, eos_token_id=tokenizer.end, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.json), eos_token="<|end|>", pad_token="<|pad|>"
    ).save_pretrained(folder)
    return folder


def test_a_language_model_that_talks_nonsense_is_counted_and_replaced(writer: Path) -> None:
    proposer = LanguageModel(str(writer), local_files_only=True, device="cpu")
    search = AdaInit(proposer, rounds=4, initialiser=SmallAngle())
    before = torch.random.get_rng_state()
    with pytest.warns(UserWarning, match="no list of 8 numbers") as told:
        found = search.search(Bowl(8), torch.zeros(8, dtype=torch.float64), generator())
    assert len([w for w in told if "no list of" in str(w.message)]) == 1
    assert (proposer.asked, proposer.nonsense) == (4, 4)
    assert found.rounds == 4
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_language_model_that_answers_is_listened_to(writer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proposer = LanguageModel(str(writer), local_files_only=True, device="cpu")
    prompts = []
    answers = iter(["0.5, 0.5]", "0.9, 0.9] and 3", "no idea", "0.1, 0.1]"])

    def answer() -> list[str]:
        prompts.append(proposer.prompt())
        return [next(answers)]

    monkeypatch.setattr(proposer, "_answers", answer)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = AdaInit(proposer, rounds=4).search(Bowl(2), torch.zeros(2, dtype=torch.float64), generator())
    assert [place for place, _ in found.kept][:3] == [0, 1, 2]
    assert float(found.kept[2][1]) == pytest.approx(1 - 0.1**2 / 2)
    assert proposer.nonsense == len(told) == 1
    assert "variance 5.000e-01 at these angles:\n[0.000, 0.000]" in prompts[0]
    assert "[0.500, 0.500]" in prompts[1]
    assert "2 qubits, 3 layers of rotations and 2 angles" in prompts[0]


def test_a_model_that_is_missing_or_too_small(writer: Path, tmp_path: Path) -> None:
    task, start = Task(2, 2, 1, 0), torch.zeros(2, dtype=torch.float64)
    with pytest.raises(InputError, match="no language model can be loaded"):
        LanguageModel(str(tmp_path / "nothing"), local_files_only=True).begin(task, start, 0.1)
    many = torch.zeros(500, dtype=torch.float64)
    with pytest.raises(InputError, match="reads and writes 2048 tokens, 500 weights take about"):
        LanguageModel(str(writer), local_files_only=True).begin(Task(500, 2, 1, 0), many, 0.1)


def test_answers_are_read_as_angles() -> None:
    found = parse_angles("0.5, -1e-1, 4, .25], 7", 4)
    assert found is not None
    assert found.tolist() == pytest.approx([0.5, -0.1, 4 - 2 * math.pi, 0.25])
    assert parse_angles("0.5, 1", 3) is None
    assert parse_angles("1, 2] 3", 3) is None
    assert parse_angles("9e999, 1", 2) is None
