"""LanguageModel: a causal language model proposes weights, as text."""

import logging
import math
import re
import warnings
from typing import Any

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.initialisers.proposers import Proposer, Task

log = logging.getLogger(__name__)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_TOKENS_A_NUMBER = 6  # "-1.234," in small vocabularies
_FALLBACK = 0.1  # radians, around the best weights so far


class LanguageModel(Proposer):
    """Any causal language model of transformers, asked in words: the circuit, the best weights so far and their variance, what
    its last answer came to.

    An answer is read as a list of numbers; they are wrapped into [-pi, pi). One with fewer than W numbers is nonsense: the
    best weights so far are shaken instead (N(0, 0.1)), with a warning the first time, and `nonsense` counts them. Nothing of a
    model's own code is run.

    Args:
        model: A name on the hub, or a folder that `save_pretrained` wrote model and tokenizer to.
        local_files_only: Never ask the hub.
        revision: Of the hub's repository.
        temperature: Of the sampling.
        answers: Proposals a round.
        device: Where the model runs, "cpu" or "cuda"; by default the first GPU, where there is one.
    """

    reference = "arXiv:2502.13166"

    def __init__(
        self,
        model: str,
        local_files_only: bool = False,
        revision: str | None = None,
        temperature: float = 0.7,
        answers: int = 1,
        device: str | None = None,
    ):
        if temperature <= 0 or answers < 1:
            raise InputError(f"temperature={temperature}, answers={answers}; more than 0, and at least 1")
        self.model, self.local_files_only, self.revision = model, local_files_only, revision
        self.temperature, self.answers, self.device = temperature, answers, device
        self.nonsense, self.asked = 0, 0
        self._loaded: Any = None

    def begin(self, task: Task, start: Tensor, variance: float) -> None:
        """Raises InputError where there is no such model, or where it is too small to name so many weights."""
        model, tokenizer = self._load()
        self._task, self._best, self._variance, self._told = task, start, variance, ""
        self._generator = torch.Generator().manual_seed(task.seed)
        self.nonsense, self.asked = 0, 0
        room = getattr(model.config, "max_position_embeddings", None)
        needed = len(tokenizer(self.prompt())["input_ids"]) + _TOKENS_A_NUMBER * task.size
        if room is not None and needed > room:
            raise InputError(
                f"{self.model!r} reads and writes {room} tokens, {task.size} weights take about {needed}; "
                "take a model with a longer context, or another proposer"
            )

    def prompt(self) -> str:
        task = self._task
        weights = ", ".join(f"{value:.3f}" for value in self._best.tolist())
        return (
            f"A quantum neural network has {task.n_qubits} qubits, {task.depth} layers of rotations and {task.size} angles in "
            f"radians. Its gradient has the variance {self._variance:.3e} at these angles:\n[{weights}]\n{self._told}"
            f"Propose {task.size} angles between -3.142 and 3.142 with a larger gradient variance. "
            "Answer with the list of numbers alone:\n["
        )

    def propose(self) -> Tensor:
        rows = []
        for answer in self._answers():
            self.asked += 1
            found = parse_angles(answer, self._task.size)
            if found is None:
                self.nonsense += 1
                if self.nonsense == 1:
                    warnings.warn(
                        f"{self.model!r} answered {answer[:60]!r}, which is no list of {self._task.size} numbers; the best "
                        "weights so far are shaken instead, now and whenever that happens again",
                        stacklevel=2,
                    )
                noise = torch.randn(self._task.size, generator=self._generator, dtype=torch.float64)
                found = self._best + _FALLBACK * noise
            rows.append(found)
        return torch.stack(rows)

    def observe(self, proposals: Tensor, variances: Tensor) -> None:
        place = int(variances.argmax())
        if float(variances[place]) > self._variance:
            self._best, self._variance, self._told = proposals[place], float(variances[place]), ""
        else:
            self._told = f"Your last proposal had the variance {float(variances[place]):.3e}, which is less.\n"

    def end(self) -> None:
        log.info("%s: %d of %d answers were nonsense", self.model, self.nonsense, self.asked)

    def _load(self) -> Any:
        if self._loaded is None:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            known: dict[str, Any] = {"local_files_only": self.local_files_only, "trust_remote_code": False}
            if self.revision is not None:
                known["revision"] = self.revision
            try:
                model = AutoModelForCausalLM.from_pretrained(self.model, **known)
                tokenizer = AutoTokenizer.from_pretrained(self.model, **known)
            except (OSError, ValueError) as error:
                raise InputError(f"no language model can be loaded from {self.model!r}: {error}") from error
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = model.to(torch.device(device)).eval(), tokenizer  # type: ignore[arg-type]
        return self._loaded

    @torch.no_grad()
    def _answers(self) -> list[str]:
        model, tokenizer = self._load()
        asked = tokenizer(self.prompt(), return_tensors="pt", return_token_type_ids=False).to(model.device)
        seed = int(torch.randint(2**31 - 1, (), generator=self._generator))
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # generation draws from the global generators
            torch.manual_seed(seed)
            written = model.generate(
                **asked,
                do_sample=True,
                temperature=self.temperature,
                num_return_sequences=self.answers,
                max_new_tokens=_TOKENS_A_NUMBER * self._task.size,
                pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            )
        answers: list[str] = tokenizer.batch_decode(written[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        return answers


def parse_angles(answer: str, size: int) -> Tensor | None:
    """(size,) radians in [-pi, pi): the first `size` numbers of an answer, up to the end of its list; None where there are
    fewer, or one is not finite."""
    found = [float(number) for number in _NUMBER.findall(answer.partition("]")[0])]
    if len(found) < size:
        return None
    angles = torch.tensor(found[:size], dtype=torch.float64)
    if not angles.isfinite().all():
        return None
    return (angles + math.pi) % (2 * math.pi) - math.pi
