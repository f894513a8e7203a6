"""The data modules: scenes made on the spot, users' own files, vectors."""

import functools
from typing import Any, Literal

from qmm.errors import InputError

from .base import MultimodalDataModule
from .captions import ASKED, SentenceColumns
from .manifest import ManifestSource
from .scenes import ScenesSource
from .vectors import VectorsSource


class _FromFiles(MultimodalDataModule):
    """A data set of pictures, sounds and sentences: a model trained on it can be asked about files."""

    @classmethod
    def for_files(
        cls,
        rows: list[dict[str, Any]] | None = None,
        path: str | None = None,
        root: str | None = None,
        classes: list[str] | None = None,
        question: str | None = ASKED,
        **loading: Any,
    ) -> "ManifestDataModule":
        """Files to predict on, without labels: `rows` such as {"image": ..., "text": ...}, or a manifest's path.

        `question` names the column of what is asked about each; by default "question", where there is one.
        """
        return ManifestDataModule(
            path, rows=rows, root=root, label=None, split=None, classes=classes, question=question, **loading
        )


class ScenesDataModule(_FromFiles):
    """Twelve scenes made on the spot and offline: a drawn picture, a synthesised sound and a sentence each; see `scenes`.

    Args:
        size: Training samples.
        val_size: Validation samples.
        test_size: Test samples.
        scenes_seed: Of the content of all samples; apart from `seed`, so that studies compare seeds on the same data.
        missing: Probability that a sample of any split lacks a given modality (never all of them).
        picture_size: Height and width in pixels.
        sound_seconds: Length at 8 kHz.
        in_memory: Keep what was made once.
        captions: Five sentences a sample that name its place, event and time, each in one of several ways.
        questions: Ask each sample one of four things (what do you see, what do you hear, when is it, what is happening);
            the answers stand in place of captions.
        text: What the text modality is: "time", a sentence that tells the time alone, or "caption", one that names place, event
            and time, as retrieval needs it.
        loading: Passed on to `MultimodalDataModule`.
    """

    def __init__(
        self,
        size: int = 1500,
        val_size: int = 300,
        test_size: int = 600,
        scenes_seed: int = 0,
        missing: float = 0.0,
        picture_size: int = 48,
        sound_seconds: float = 1.0,
        in_memory: bool = True,
        captions: bool = False,
        questions: bool = False,
        text: Literal["time", "caption"] = "time",
        **loading: Any,
    ):
        super().__init__(**loading)
        self.sizes = {"train": size, "val": val_size, "test": test_size}
        self.scenes_seed, self.missing, self.in_memory = scenes_seed, missing, in_memory
        self.picture_size, self.sound_seconds = picture_size, sound_seconds
        self.captions, self.questions, self.text = captions, questions, text

    def make_source(self) -> ScenesSource:
        return ScenesSource(
            self.sizes, self.scenes_seed, self.missing, self.picture_size, self.sound_seconds, self.in_memory,
            self.captions, self.questions, self.text,
        )  # fmt: skip


class ManifestDataModule(_FromFiles):
    """Pictures, sounds and sentences of your own, listed in a JSONL, CSV or Parquet file.

    A row lacks a modality where its column is null, absent, or empty in CSV. Sounds are whatever soundfile reads, pictures
    whatever Pillow reads.

    Args:
        path: The manifest. The files it names are relative to its folder.
        root: Folder that no file may lie outside of, links followed, relative to the manifest's folder; default: that folder.
            For `rows`, default: no limit.
        columns: Modality -> column; default: vision: image, audio: audio, text: text, as far as they are there.
        kinds: How to read a modality with a name of your own, such as {left: vision}.
        label: Column of class names, or of numbers for regression.
        split: Column that says train, val, test or predict; or shares, such as {val: 0.2, test: 0.1}, to split at random,
            stratified by class, groups kept together; or null: everything is to predict.
        id: Column of unique names; default: `id` where there is one, else the row's number.
        group: Column of what no split may tear apart: a speaker, a recording.
        group_pattern: Regular expression that finds the group in that column; its first bracket, or the whole match.
        classes: Class names in the order wanted; default: those of the training split, sorted.
        regression: Learn a number rather than a class.
        captions: Column, or columns, of the sentences that say what a row is: a string or a list of strings. true, false and
            numbers are spelt out. `label` may then be null.
        facts: Fact -> column of its value, such as {place: place}: what a sentence should name.
        words: Fact -> value -> words and phrases that name it; default: the value itself, underscores read as spaces.
        question: Column of what is asked about a row, or of an instruction; its caption is the answer. For an encoder to read
            it, too, name it in `columns`: {text: question}.
        questions: Question -> column of its answers. Every row becomes one row for each question that it answers, named
            `id?0`, `id?1` ...; `columns` find it as `question`. To ask for captions: {describe the scene: captions}. Where the
            answers' column is that of a fact, its words are the answers, and no other fact is asked for.
        partial: A row may lack its label, or its caption, but not both: each part of a mixed model learns from what it has.
        on_bad_sample: Raise at the first bad row, or skip it and list it in `skipped`; to skip, all files are decoded once.
        verify: Decode all files before training, too, rather than look at their headers alone.
        in_memory: Keep decoded pictures and sounds; 1 MB holds some 20 pictures of 128 x 128, or 16 s of sound at 16 kHz.
        rows: Rows in memory in place of a path.
        loading: Passed on to `MultimodalDataModule`.
    """

    def __init__(
        self,
        path: str | None = None,
        root: str | None = None,
        columns: dict[str, str] | None = None,
        kinds: dict[str, str] | None = None,
        label: str | None = "label",
        split: str | dict[str, float] | None = "split",
        id: str | None = None,
        group: str | None = None,
        group_pattern: str | None = None,
        classes: list[str] | None = None,
        regression: bool = False,
        on_bad_sample: Literal["raise", "skip"] = "raise",
        verify: bool = True,
        in_memory: bool = False,
        rows: list[dict[str, Any]] | None = None,
        captions: str | list[str] | None = None,
        facts: dict[str, str] | None = None,
        words: dict[str, dict[str, list[str]]] | None = None,
        question: str | None = None,
        questions: dict[str, str] | None = None,
        partial: bool = False,
        **loading: Any,
    ):
        super().__init__(**loading)
        if on_bad_sample not in ("raise", "skip"):
            raise InputError(f"on_bad_sample is 'raise' or 'skip', got {on_bad_sample!r}")
        self.skips_bad, self.decodes_all = on_bad_sample == "skip", verify
        fields = (captions,) if isinstance(captions, str) else tuple(captions or ())
        sentences = SentenceColumns(fields, facts or {}, words, question, questions or {})
        if partial and (label is None or not sentences.sentences):
            raise InputError("`partial` is for rows with a label or a caption; name both `label` and `captions`")
        self._make = functools.partial(
            ManifestSource, path, rows, root, columns, kinds, label, split, id, group, group_pattern, classes, regression,
            skip_bad=self.skips_bad, in_memory=in_memory, split_seed=self.split_seed, sentences=sentences, partial=partial,
        )  # fmt: skip

    def make_source(self) -> ManifestSource:
        return self._make()


class VectorsDataModule(MultimodalDataModule):
    """One vector a modality and row, from .npz or Parquet: features that somebody else has extracted.

    Args:
        path: The file. Arrays (N, D) of .npz; list columns of Parquet, or numbered ones (`audio_0`, `audio_1` ... for `audio`).
        columns: Modality -> key or column.
        label: Key of class names, of class indices, or of numbers for regression.
        split: Key that says train, val, test or predict; or shares, such as {val: 0.2}; or null: everything is to predict.
        id: Key of unique names; default: the row's number, from 0.
        group: Key of what no split may tear apart: a speaker, a recording.
        group_pattern: Regular expression that finds the group under that key.
        classes: Class names: in the order of the indices, where labels are indices. Default: the training labels, sorted.
        regression: Learn a number rather than a class.
        loading: Passed on to `MultimodalDataModule`.
    """

    def __init__(
        self,
        path: str,
        columns: dict[str, str],
        label: str | None = "label",
        split: str | dict[str, float] | None = "split",
        id: str | None = None,
        group: str | None = None,
        group_pattern: str | None = None,
        classes: list[str] | None = None,
        regression: bool = False,
        **loading: Any,
    ):
        super().__init__(**loading)
        self._make = functools.partial(
            VectorsSource, path, columns, label, split, id, group, group_pattern, classes, regression,
            split_seed=self.split_seed,
        )  # fmt: skip

    def make_source(self) -> VectorsSource:
        return self._make()

    @classmethod
    def for_files(cls, *args: Any, **kwargs: Any) -> ManifestDataModule:
        raise InputError(
            "this model reads vectors, not pictures, sounds or sentences; to predict give a VectorsDataModule "
            "with `path` of your own vectors, `split: null` and `label: null`"
        )
