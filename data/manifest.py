"""ManifestSource: users' own pictures, sounds and sentences, listed in JSONL, CSV, Parquet or in memory."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from qmm.errors import InputError

from .captions import ASKED, SentenceColumns, answer_with_words, expand, read_facts, read_prompts, read_references
from .files import FileError, check_picture, check_sound, decode_picture, decode_sound, picture_tensor, sound_tensor
from .source import SPLITS, BadSample, Source, check_splits, near, parse_value, sort_classes
from .splits import make_groups, split_rows
from .tables import number_rows, read_rows

DEFAULT_COLUMNS = {"vision": "image", "audio": "audio", "text": "text"}
_CHECK = {"vision": check_picture, "audio": check_sound}
_DECODE: dict[str, Callable[[Path], Any]] = {"vision": decode_picture, "audio": decode_sound}
_THREADS = 4  # decoding waits for the disk as much as for the processor

_known_problems: dict[tuple[str, str, int, int, bool], str | None] = {}  # kind, file, its state, thorough -> what is wrong
_known_digests: dict[tuple[str, int, int], str] = {}


class ManifestSource(Source):
    """Rows of a manifest; `ManifestDataModule` explains the arguments. `rows` in memory stand instead of a `path`."""

    def __init__(
        self,
        path: str | None,
        rows: Sequence[Mapping[str, Any]] | None = None,
        root: str | None = None,
        columns: Mapping[str, str] | None = None,
        kinds: Mapping[str, str] | None = None,
        label: str | None = "label",
        split: str | Mapping[str, float] | None = "split",
        id: str | None = None,
        group: str | None = None,
        group_pattern: str | None = None,
        classes: Sequence[str] | None = None,
        regression: bool = False,
        skip_bad: bool = False,
        in_memory: bool = False,
        split_seed: int = 0,
        sentences: SentenceColumns = SentenceColumns(),  # noqa: B008
        partial: bool = False,
    ):
        sentences.check()
        if (path is None) == (rows is None):
            raise InputError("give either the `path` of a manifest or `rows` in memory, not both or neither")
        self.name = "rows" if path is None else str(path)
        self.folder = Path.cwd() if path is None else Path(path).parent
        self.root = None if root is None and path is None else (self.folder / (root or ".")).resolve()
        read = read_rows(Path(path)) if path is not None else number_rows(rows or ())
        split_column = split if isinstance(split, str) else None
        self._made = expand(*read, sentences, lambda row: split is None or row.get(split_column or "") == "predict")
        self.rows, self.numbers = self._made.rows, self._made.numbers
        if split is None and sentences.question == ASKED and not any(ASKED in row for row in self.rows):
            sentences = sentences._replace(question=None)  # files to predict on need not ask anything
        self.sentences, self.partial = sentences, partial
        self.skip_bad, self.bad, self._bad_rows = skip_bad, [], set[int]()
        self._memory: dict[tuple[Path, str], Any] | None = {} if in_memory else None
        self.columns = self._find_columns(columns, required=[label, group, id, split_column, *sentences.names()])
        self.kinds = {modality: (kinds or {}).get(modality, modality) for modality in self.columns}
        self._check_kinds()
        self.ids = self._read_ids(id)
        self._values: dict[str, list[Any]] = {m: [self._value(m, row) for row in range(len(self.rows))] for m in self.columns}
        self.present = {m: np.array([value is not None for value in values]) for m, values in self._values.items()}
        self._check_present()
        if group is not None:
            self.groups = make_groups([str(row.get(group) or "") for row in self.rows], group_pattern, self.name)
        elif sentences.questions:
            self.groups = [str(number) for number in self.numbers]  # the questions about one row stay in one split
        self._read_asked()
        self._split_and_label(label, split, classes, regression, split_seed)

    def raw(self, modality: str, row: int) -> Any:
        value, kind = self._values[modality][row], self.kinds[modality]
        if kind == "text":
            return value
        try:
            content = self._decoded(value, kind)
        except FileError as error:
            raise InputError(str(self._problem(modality, row, error.reason))) from error
        return picture_tensor(content) if kind == "vision" else sound_tensor(*content)

    def key(self, modality: str, row: int) -> str:
        value = self._values[modality][row]
        if self.kinds[modality] == "text":
            return hashlib.sha256(value.encode()).hexdigest()
        status = value.stat()
        identity = (str(value), status.st_mtime_ns, status.st_size)
        if identity not in _known_digests:
            _known_digests[identity] = hashlib.sha256(value.read_bytes()).hexdigest()
        return _known_digests[identity]

    def verify(self, rows: Sequence[int], modalities: Sequence[str], thorough: bool) -> dict[int, BadSample]:
        """Existence and header of every file, once each; with `thorough` its whole content, behind a progress bar."""
        users: dict[tuple[Path, str], list[tuple[int, str]]] = {}
        for row in rows:
            for modality in modalities:
                if self.present[modality][row] and self.kinds[modality] != "text":
                    users.setdefault((self._values[modality][row], self.kinds[modality]), []).append((row, modality))
        found: dict[int, BadSample] = {}
        with ThreadPoolExecutor(_THREADS) as pool:
            reasons = pool.map(lambda file: self._reason(file[0], file[1], thorough), users)
            checked = tqdm(reasons, "checking files", len(users), unit="file", leave=False, disable=not thorough, delay=1)
            for uses, reason in zip(users.values(), checked, strict=True):
                for row, modality in uses if reason is not None else ():
                    found.setdefault(row, self._problem(modality, row, reason or ""))
        return dict(sorted(found.items()))

    def _reason(self, path: Path, kind: str, thorough: bool) -> str | None:
        try:
            status = path.stat()
            identity = (kind, str(path), status.st_mtime_ns, status.st_size, thorough)
            if identity not in _known_problems or (thorough and self._memory is not None):
                _known_problems[identity] = None  # until shown otherwise
                self._decoded(path, kind) if thorough else _CHECK[kind](path)
            return _known_problems[identity]
        except FileError as error:
            _known_problems[identity] = error.reason
            return error.reason
        except OSError as error:
            return f"{error.strerror}; correct the path, or remove the row"

    def _decoded(self, path: Path, kind: str) -> Any:
        if self._memory is None:
            return _DECODE[kind](path)
        if (path, kind) not in self._memory:
            self._memory[path, kind] = _DECODE[kind](path)
        return self._memory[path, kind]

    def _problem(self, modality: str, row: int, reason: str) -> BadSample:
        column = self.columns[modality]
        file = self.name if self.kinds[modality] == "text" else str(self.rows[row].get(column))
        return BadSample(self.numbers[row], column, file, reason)

    def _reject(self, row: int, field: str, reason: str, file: str | None = None) -> None:
        """Raise InputError, or take the row out where bad rows are to be skipped."""
        problem = BadSample(self.numbers[row], field, file or self.name, reason)
        if not self.skip_bad:
            raise InputError(str(problem))
        self._bad_rows.add(row)
        if all(known[:2] != problem[:2] for known in self.bad):
            self.bad.append(problem)

    def _find_columns(self, columns: Mapping[str, str] | None, required: Sequence[str | None]) -> dict[str, str]:
        there = list(dict.fromkeys(name for row in self.rows for name in row))
        for column in [*(columns or {}).values(), *required]:
            if column is not None and column not in there:
                raise InputError(f"{self.name}: no column {column!r}; {near(column, there)}")
        found = dict(columns) if columns else {m: c for m, c in DEFAULT_COLUMNS.items() if c in there}
        if not found:
            raise InputError(f"{self.name}: no column image, audio or text; name yours in `columns`; {near('image', there)}")
        return found

    def _check_kinds(self) -> None:
        for modality, kind in self.kinds.items():
            if kind not in DEFAULT_COLUMNS:
                raise InputError(
                    f"modality {modality!r}: unknown kind {kind!r}, expected one of {', '.join(DEFAULT_COLUMNS)}; "
                    f"say how to read it: kinds: {{{modality}: vision}}"
                )

    def _read_ids(self, column: str | None) -> list[str]:
        if column is None:
            column = "id" if any("id" in row for row in self.rows) else None
        seen: dict[str, int] = {}
        ids = []
        for row, content in enumerate(self.rows):
            value = content.get(column) if column is not None else None
            name = str(self.numbers[row] if value is None else value) + self._made.suffixes[row]
            if name in seen:
                self._reject(row, column or "id", f"id {name!r} already stands in row {seen[name]}; ids must differ")
            seen.setdefault(name, self.numbers[row])
            ids.append(name)
        return ids

    def _value(self, modality: str, row: int) -> Path | str | None:
        """The sentence, or the file's resolved path; None where the row lacks the modality."""
        column = self.columns[modality]
        value = self.rows[row].get(column)
        if value is None:
            return None
        if not isinstance(value, str):
            self._reject(row, column, f"expected a string, got {value!r} ({type(value).__name__})")
            return None
        if not value.strip():
            what = "an empty caption" if self.kinds[modality] == "text" else "an empty path"
            self._reject(row, column, f"{what}; write null where a row lacks its {modality}, or leave the field out")
            return None
        return value if self.kinds[modality] == "text" else self._resolve(row, column, value)

    def _resolve(self, row: int, column: str, value: str) -> Path | None:
        try:
            path = (self.folder / value).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # too long, a null byte, links in a circle
            self._reject(row, column, f"{value!r} is not a path ({error})")
            return None
        if self.root is not None and not path.is_relative_to(self.root):
            reason = f"the file lies outside of the allowed folder {self.root}; move it there, or set `root` to a folder above"
            self._reject(row, column, reason, file=value)
            return None
        return path

    def _check_present(self) -> None:
        anything = np.any(list(self.present.values()), axis=0)
        for row in np.flatnonzero(~anything):
            if int(row) not in self._bad_rows:
                fields = ", ".join(self.columns.values())
                self._reject(int(row), fields, "the row has none of its modalities; fill at least one of these columns")

    def _split_and_label(
        self,
        label: str | None,
        split: str | Mapping[str, float] | None,
        classes: Sequence[str] | None,
        regression: bool,
        seed: int,
    ) -> None:
        self.classes = list(classes) if classes and not regression else None
        self.splits = {}
        if split is None:
            self.splits = {"predict": np.arange(len(self.rows))}
        elif isinstance(split, str):
            self.splits = self._split_by_column(split)
        labels = self._read_labels(label, regression)
        self._read_sentences(labels)
        if isinstance(split, Mapping):
            usable = np.array([row for row in range(len(self.rows)) if row not in self._bad_rows], dtype=np.int64)
            strata = None if regression or label is None else np.array(labels)[usable]
            groups = None if self.groups is None else [self.groups[row] for row in usable]
            self.splits = {s: usable[part] for s, part in split_rows(split, strata, groups, len(usable), seed).items()}
        if labels and not regression:
            labels = self._index_labels(labels, label or "")
        self.targets = {"label": np.array(labels, dtype=np.float32 if regression else np.int64)} if labels else {}
        self.splits = {split: rows[~np.isin(rows, list(self._bad_rows))] for split, rows in self.splits.items()}

    def _split_by_column(self, column: str) -> dict[str, np.ndarray]:
        names = [row.get(column) for row in self.rows]
        for row, name in enumerate(names):
            if name not in SPLITS:
                raise InputError(
                    f"{self.name}: row {self.numbers[row]}, field {column!r}: unknown split {name!r}, expected one of "
                    f"{', '.join(SPLITS)}; rename it, or give fractions instead, such as split: {{val: 0.2}}"
                )
        return check_splits([str(name) for name in names], self.name)

    def _read_asked(self) -> None:
        """Prompts, and what must stay with them."""
        column = self.sentences.prompt
        if column is not None:
            self.prompts = read_prompts(self.rows, column, self._reject)
            self.bound = frozenset(modality for modality, own in self.columns.items() if own == column)

    def _read_sentences(self, labels: list[Any]) -> None:
        """References and facts. Where some are only labelled, a row must have a label or a reference."""
        unlabelled = self._unlabelled()

        def needed(row: int) -> bool:
            labelled = self.partial and labels and labels[row] == labels[row] and labels[row] != ""  # NaN: none
            return row not in unlabelled and not labelled

        if self.sentences.sentences:
            self.references = read_references(self.rows, self._made, needed, self._reject)
        if self.sentences.facts:
            self.facts, self.words = read_facts(self.rows, self.sentences, self._reject)
        if self.facts is not None and self.words is not None and self.references is not None and self.sentences.questions:
            answer_with_words(self._made, self.sentences, self.references, self.facts, self.words)

    def _unlabelled(self) -> set[int]:
        """Rows that need no target."""
        return set(self.splits.get("predict", np.empty(0, dtype=np.int64)).tolist())

    def _read_labels(self, column: str | None, regression: bool) -> list[Any]:
        """A number or a class name by row; NaN or "" in rows without one. Empty where there is no label column."""
        if column is None:
            if set(self.splits) != {"predict"} and not self.sentences.sentences:
                raise InputError(
                    f"{self.name}: `label` is null; name the labels' column, or one of `captions`, "
                    "or set `split` to null to predict"
                )
            return []
        unlabelled = self._unlabelled()
        labels: list[Any] = []
        for row, content in enumerate(self.rows):
            value = content.get(column)
            labels.append(float("nan") if regression else "")
            if value is None or value == "":
                if row not in unlabelled and not self.partial:
                    self._reject(row, column, "no label; give one, or move the row to the split 'predict'")
                continue
            try:
                labels[row] = parse_value(value) if regression else str(value)
            except ValueError as error:
                self._reject(row, column, str(error))
        return labels

    def _index_labels(self, labels: list[str], column: str) -> list[int]:
        train = [labels[row] for row in self.splits.get("train", ()) if row not in self._bad_rows and labels[row]]
        origin = "`classes`" if self.classes else "the training split"
        if self.classes is None and train:
            self.classes = sort_classes(train)
        known = {name: index for index, name in enumerate(self.classes or ())}
        for row, name in enumerate(labels):
            if name and name not in known and self.classes is not None:
                self._reject(row, column, f"unknown label {name!r}, which {origin} lacks; {near(name, known)}")
        return [known.get(name, -1) for name in labels]
