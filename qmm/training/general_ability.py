"""GeneralAbility: what a language model unlearns of language at large while it learns to describe."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning import Callback, Trainer

from qmm.decoders import SentenceDecoder
from qmm.errors import InputError
from qmm.language.perplexity import perplexity


class GeneralAbility(Callback):
    """Perplexity of the bare language model (no prefix, no prompt, no cross-attention; adapters of LoRA belong to it) on
    sentences that it is not tuned on, before the training and in every evaluation after it.

    `val/` or `test/` `general_perplexity_before`, `general_perplexity_after` and `general_ability_lost` (after / before - 1)
    stand among the metrics. What was measured before travels in the checkpoint.

    Args:
        path: Sentences: a text file with one a line, or a column of a .jsonl, .csv, .tsv or .parquet file.
        column: Name of that column; a row may have a list of sentences.
        limit: Only so many sentences, the first ones.
        batch_size: Of the measurement.
    """

    def __init__(self, path: str, column: str | None = None, limit: int | None = None, batch_size: int = 16):
        self.sentences = read_sentences(path, column, limit)
        self.batch_size = batch_size
        self.before: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = state_dict["before"]

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.before is None:
            self.before = self._measure(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn != "fit":  # while training goes on nobody asks
            self._report(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._report(pl_module, "test")

    def _report(self, pl_module: Any, split: str) -> None:
        after = self._measure(pl_module)
        pl_module.log(f"{split}/general_perplexity_after", after)
        if self.before is not None:
            pl_module.log(f"{split}/general_perplexity_before", self.before)
            pl_module.log(f"{split}/general_ability_lost", after / self.before - 1)

    def _measure(self, pl_module: Any) -> float:
        decoder = next((part for part in pl_module.model.decoder.modules() if isinstance(part, SentenceDecoder)), None)
        if decoder is None:
            raise InputError("GeneralAbility measures the language model of a SentenceDecoder, and this model has none")
        return perplexity(decoder.language, decoder.tokenizer, self.sentences, self.batch_size)


def read_sentences(path: str | Path, column: str | None = None, limit: int | None = None) -> list[str]:
    """Sentences of a file, blank ones left out. Raises InputError naming the file, and the row or the columns, when it cannot
    be read or holds none."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {path}; give one with sentences: .txt, .jsonl, .csv, .tsv or .parquet")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: expected at least 1")
    tabular = path.suffix.lower() in (".jsonl", ".csv", ".tsv", ".parquet")
    if tabular and column is None:
        raise InputError(f"{path}: say which `column` holds the sentences")
    if not tabular and column is not None:
        raise InputError(f"{path}: column={column!r} is given, but only .jsonl, .csv, .tsv and .parquet have columns")
    try:
        found = _from_table(path, str(column)) if tabular else path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    sentences = [sentence.strip() for sentence in found if sentence.strip()][:limit]
    if not sentences:
        raise InputError(f"{path}: there is no sentence in it")
    return sentences


def _from_table(path: Path, column: str) -> list[str]:
    sentences: list[str] = []
    for number, row in enumerate(_rows(path), start=1):
        if column not in row:
            raise InputError(f"{path}: row {number} has no column {column!r} (it has {', '.join(map(str, row))})")
        held = row[column]
        values = [] if held is None else list(held) if isinstance(held, list | np.ndarray) else [held]
        if any(not isinstance(value, str) for value in values):
            raise InputError(f"{path}: row {number}: {column} holds {held!r}; expected a sentence or a list of them")
        sentences += values
    return sentences


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from ({str(k): v for k, v in row.items()} for row in pd.read_parquet(path).to_dict("records"))
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        if suffix == ".jsonl":
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield dict(json.loads(line))
                    except (ValueError, TypeError) as error:
                        raise InputError(f"{path}: row {number}: not a JSON object ({error}); write one a line") from error
        else:
            yield from csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ",")
