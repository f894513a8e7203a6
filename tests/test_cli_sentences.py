"""The command line of models that say sentences."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Qmm = Callable[..., Any]


class Run(NamedTuple):
    folder: Path
    printed: str

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def run(qmm: Qmm, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished tiny run, and what it printed."""
    runs = tmp_path_factory.mktemp("sentences")
    config = repository / "tests" / "tiny_captions.yaml"
    return Run(runs / "captions", qmm("fit", "--config", config, "--runs", runs).stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)).save(folder / "a.png")
    soundfile.write(folder / "a.wav", np.sin(np.arange(8000) / 9), 11025)
    return ["--image", folder / "a.png", "--audio", folder / "a.wav"]


def answer(qmm: Qmm, run: Run, *args: object) -> dict[str, Any]:
    return json.loads(qmm("predict", "--ckpt_path", run.last, *args, "--json").stdout)


def test_the_folder_shows_what_was_said(run: Run) -> None:
    written = {path.name for path in (run.folder / "test").iterdir()}
    facts = {"place", "event", "time"}
    assert written == {"metrics.json", "predictions.parquet", "examples.png", *(f"named_{fact}.png" for fact in facts)}
    assert {"samples.md", "samples.png", "circuit.png", "learning_curves.png"} <= {path.name for path in run.folder.iterdir()}
    table = pd.read_parquet(run.folder / "test" / "predictions.parquet")
    metrics = json.loads((run.folder / "test" / "metrics.json").read_text())["metrics"]
    assert metrics["grounding"] == pytest.approx(table["right"].mean())
    assert metrics["exact_match"] == pytest.approx(table["exact"].mean())
    assert metrics["f1"] == pytest.approx(1 - table["error"].mean())
    for fact in facts:
        hits = [list(n) == [t] for n, t in zip(table[f"named_{fact}"], table[f"true_{fact}"], strict=True)]
        assert metrics[f"grounding_{fact}"] == pytest.approx(np.mean(hits))


def test_examples_are_printed_at_the_end(run: Run) -> None:
    table = pd.read_parquet(run.folder / "test" / "predictions.parquet").set_index("id")
    printed = [line for line in run.printed.splitlines() if line.startswith("test-")]
    assert [line.split()[0] for line in printed] == [table.index[i * len(table) // 5] for i in range(5)]
    assert f"  true:  {table['target'].iloc[0]}\n  model: {table['prediction'].iloc[0]}\n" in run.printed


def test_samples_of_every_epoch(run: Run) -> None:
    text = (run.folder / "samples.md").read_text()
    shown = [line for line in text.splitlines() if line.startswith("## val-")]
    assert len(set(shown)) == len(shown) == 4
    assert [line.split(" | ")[0] for line in text.splitlines() if line[:3] in ("| 0", "| 1")] == ["| 0", "| 1"] * 4
    (events,) = (run.folder / "tensorboard").iterdir()
    board = EventAccumulator(str(events), size_guidance={"images": 0, "tensors": 0}).Reload()
    assert len(board.Images("samples")) == 2
    assert len(board.Tensors("samples/text_summary")) == 2
    logged = Image.open(io.BytesIO(board.Images("samples")[-1].encoded_image_string))
    assert np.array_equal(np.asarray(logged), np.asarray(Image.open(run.folder / "samples.png").convert("RGB")))


def test_the_checkpoint_alone_gives_the_same_scores(qmm: Qmm, run: Run, tmp_path: Path) -> None:
    qmm("test", "--ckpt_path", run.last, "--runs", tmp_path, "--name", "again")
    first, again = (json.loads((f / "test" / "metrics.json").read_text())["metrics"] for f in (run.folder, tmp_path / "again"))
    assert again == pytest.approx(first)


def test_says_what_is_seen_and_heard(qmm: Qmm, run: Run, files: list[object]) -> None:
    said = answer(qmm, run, *files)
    assert set(said) == {"id", "sentence", "score"}
    assert said["score"] < 0
    line = qmm("predict", "--ckpt_path", run.last, *files).stdout
    assert line == f"{said['sentence']} ({said['score']:.2f})\n"
    assert qmm("predict", "--ckpt_path", run.last, *files, "--stream").stdout == line
    assert answer(qmm, run, *files[:2])["score"] != said["score"]


def test_generation_is_asked_for_by_flags(qmm: Qmm, run: Run, files: list[object]) -> None:
    greedy = answer(qmm, run, *files, "--strategy", "greedy")
    assert greedy["sentence"].startswith(answer(qmm, run, *files, "--strategy", "greedy", "--max_new_tokens", "3")["sentence"])
    assert answer(qmm, run, *files, "--beams", "3") == answer(qmm, run, *files, "--beams", "3", "--strategy", "beam")
    drawn = [answer(qmm, run, *files, "--temperature", "5", "--seed", seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert answer(qmm, run, *files, "--temperature", "1e-4")["sentence"] == greedy["sentence"]


def test_a_prompt_is_followed(qmm: Qmm, run: Run, files: list[object], tmp_path: Path) -> None:
    plain, asked = (answer(qmm, run, *files, *more) for more in ([], ["--prompt", "what do you hear?"]))
    assert plain["score"] != asked["score"]
    image, audio = files[1], files[3]
    rows = [{"id": "a", "image": str(image), "audio": str(audio), "question": "what do you hear?"}]
    rows += [{"id": "b", "image": str(image), "audio": str(audio)}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    manifest = ["--manifest", tmp_path / "m.jsonl", "--root", "/"]
    lines = qmm("predict", "--ckpt_path", run.last, *manifest, "--json", "--batch_size", "1").stdout.splitlines()
    found = {row.pop("id"): row for row in map(json.loads, lines)}
    assert found["a"]["sentence"] == asked["sentence"]
    assert found["b"]["sentence"] == plain["sentence"]
    everyone = qmm("predict", "--ckpt_path", run.last, *manifest, "--prompt", "what do you hear?").stdout.splitlines()
    assert everyone == [f"{name}: {asked['sentence']} ({asked['score']:.2f})" for name in "ab"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--top", "2"], "--top counts classes"),
        (["--stream", "--json"], "leave out --json"),
        (["--temperature", "-1"], "temperature"),
        (["--max_new_tokens", "0"], "max_new_tokens"),
    ],
)
def test_flags_that_mean_nothing_are_refused(qmm: Qmm, run: Run, files: list[object], args: list[str], message: str) -> None:
    refused = qmm("predict", "--ckpt_path", run.last, *files, *args, ok=False)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("flag", [["--prompt", "a"], ["--stream"], ["--beams", "2"]])
def test_a_model_of_classes_says_no_sentences(qmm: Qmm, trained: Path, files: list[object], flag: list[str]) -> None:
    refused = qmm("predict", "--ckpt_path", trained / "checkpoints" / "last.ckpt", *files, *flag, ok=False)
    assert f"{flag[0]}: only for models that say sentences, and this one ends in a ClassDecoder" in refused.stderr
