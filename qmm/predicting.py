"""`qmm predict`: a checkpoint and files -> labels with probabilities, or values."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from qmm.errors import InputError
from qmm.loading import find_class, load
from qmm.training.checkpoints import read_checkpoint

COLUMNS = {"vision": "image", "audio": "audio", "text": "text"}
"""Modality -> what its files are called on the command line and in a manifest."""


def main(args: list[str]) -> None:
    """Prints one line for each sample, or JSON Lines."""
    parser = argparse.ArgumentParser(
        prog="qmm predict",
        description="Label files with a trained model. Leave out what you do not have: a missing modality takes no part.",
        epilog="example: qmm predict --ckpt_path runs/quickstart/checkpoints/last.ckpt --image a.jpg --audio a.wav",
    )
    parser.add_argument("--ckpt_path", required=True, help="checkpoint of a qmm task")
    parser.add_argument("--image", help="a picture that Pillow reads")
    parser.add_argument("--audio", help="a sound that soundfile reads")
    parser.add_argument("--text", help="a sentence")
    parser.add_argument("--manifest", help="many samples instead: JSONL, CSV or Parquet with columns image, audio, text")
    parser.add_argument("--root", help="folder that the manifest's files may lie in (default: the manifest's)")
    parser.add_argument("--json", action="store_true", help="JSON Lines: id, label, probabilities")
    parser.add_argument("--top", type=int, default=3, help="classes to print for each sample (default: 3)")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--data", help="class that reads the files (default: the data module of the training)")
    parser.add_argument("--allow", nargs="+", default=[], help="further packages whose classes the checkpoint may build")
    options = parser.parse_args(args)
    single = {"vision": options.image, "audio": options.audio, "text": options.text}
    if bool(options.manifest) == any(value is not None for value in single.values()):
        raise InputError("give either files (--image, --audio, --text) or a --manifest")
    task = load(options.ckpt_path, options.allow)
    reader = _reader(options)
    modalities = list(task.model.branches)
    if options.manifest:
        data = reader.for_files(path=options.manifest, root=options.root)
    else:
        unknown = [m for m, value in single.items() if value is not None and m not in modalities]
        if unknown:
            raise InputError(f"the model has no {', '.join(unknown)}; it takes {', '.join(modalities)}")
        data = reader.for_files(rows=[{COLUMNS[m]: v for m, v in single.items() if v is not None}])
    for name, prediction in predict(task, data, options.batch_size):
        print(_line(name, prediction, options.json, options.top, bool(options.manifest)))


def predict(task: Any, data: Any, batch_size: int = 32) -> Iterator[tuple[str, Any]]:
    """(id, prediction) of every sample of a data module's "predict" split, with a progress bar on stderr."""
    data.connect({m: branch.encoder.preprocess for m, branch in task.model.branches.items() if m in data.modalities})
    data.batch_size = batch_size
    data.setup("predict")
    loader = data.predict_dataloader()
    with torch.inference_mode():
        for batch in tqdm(loader, desc="predicting", unit="batch", file=sys.stderr, disable=len(loader) < 2):
            yield from zip(batch.ids, task.predict_step(batch, 0), strict=True)


def _reader(options: argparse.Namespace) -> Any:
    path = options.data
    if path is None:
        described = read_checkpoint(options.ckpt_path)["qmm"]["data"]
        if described is None:
            raise InputError("the checkpoint does not say how its data is read; name a data module with --data")
        path = described["class_path"]
    reader = find_class(path, options.allow)
    if not hasattr(reader, "for_files"):
        raise InputError(f"{path} cannot read files: it has no `for_files`; name another data module with --data")
    return reader


def _line(name: str, prediction: Any, as_json: bool, top: int, named: bool) -> str:
    if as_json:
        return json.dumps({"id": name, **prediction._asdict()})
    head = f"{name}: " if named else ""
    if not hasattr(prediction, "probabilities"):
        return f"{head}{prediction.value:.4g}"
    best: Sequence[tuple[str, float]] = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:top]
    return head + ", ".join(f"{label} {probability:.1%}" for label, probability in best)
