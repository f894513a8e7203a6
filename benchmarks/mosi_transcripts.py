"""CMU-MOSI with text that nobody has fitted: MiniLM embeddings of the transcripts, for configs/mosi_transcripts.yaml.

python benchmarks/mosi_transcripts.py [--data ../shared/data/mosi-features/train.npz] [--out runs/features/mosi_transcripts.npz]

The set's own text features, and its video features, were learned from these utterances and their labels. Needs the extra
minilm. An archive that is there is not made anew.
"""

import argparse
from pathlib import Path

import numpy as np
from sst2_features import embed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/mosi-features/train.npz"))
    parser.add_argument("--out", type=Path, default=Path("runs/features/mosi_transcripts.npz"))
    options = parser.parse_args()
    if options.out.is_file():
        print(f"{options.out} is there")
        return
    with np.load(options.data, allow_pickle=False) as archive:
        kept = {name: archive[name] for name in ("audio", "labels", "video_id", "split")}
        text = embed([sentence.lower() for sentence in archive["transcript"].tolist()])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_name(f".{options.out.name}.partial.npz")
    np.savez(partial, text=text, **kept)
    partial.replace(options.out)
    print(f"{options.out}: {len(text)} utterances of {len(np.unique(kept['video_id']))} videos")


if __name__ == "__main__":
    main()
