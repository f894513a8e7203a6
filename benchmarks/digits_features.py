"""Spoken digits and handwritten ones, joined by what they say, as vectors for configs/av_digits.yaml.

python benchmarks/digits_features.py [--data ../shared/data/av-digits] [--out runs/features/av_digits.npz]

Every clip gets a picture of the same digit, no picture twice (as in AV-MNIST, a pairing by label alone). A picture becomes the
means of 7 x 7 blocks of 4 x 4 pixels; a clip 20 mel-frequency cepstral coefficients in four quarters of its length, by librosa.
All is one split, "train": folds hold speakers out. An archive that is there is not made anew.
"""

import argparse
import csv
from pathlib import Path

import librosa
import numpy as np
import soundfile
from tqdm.auto import tqdm

RATE, COEFFICIENTS, QUARTERS = 8000, 20, 4


def describe_sound(wave: np.ndarray) -> np.ndarray:
    """(samples,) at 8 kHz -> (80,): means of the coefficients over each quarter of the clip, which is trimmed of silence."""
    trimmed, _ = librosa.effects.trim(wave, top_db=40, frame_length=512, hop_length=128)
    table = librosa.feature.mfcc(y=trimmed, sr=RATE, n_mfcc=COEFFICIENTS, n_fft=256, hop_length=80, n_mels=40)
    return np.concatenate([part.mean(1) for part in np.array_split(table, QUARTERS, axis=1)]).astype(np.float32)


def describe_picture(pixels: np.ndarray) -> np.ndarray:
    """(28, 28) of 0 to 255 -> (49,) of 0 to 1."""
    return (pixels.reshape(7, 4, 7, 4).mean((1, 3)) / 255).ravel().astype(np.float32)


def pair(digits: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """For each clip the number of a picture of its digit, each taken once at most."""
    rng, chosen = np.random.default_rng(seed), np.empty(len(digits), dtype=np.int64)
    for digit in np.unique(digits):
        clips = np.flatnonzero(digits == digit)
        chosen[clips] = rng.choice(np.flatnonzero(labels == digit), len(clips), replace=False)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/av-digits"))
    parser.add_argument("--out", type=Path, default=Path("runs/features/av_digits.npz"))
    options = parser.parse_args()
    if options.out.is_file():
        print(f"{options.out} is there")
        return
    with (options.data / "audio.tsv").open(encoding="utf-8", newline="") as file:
        clips = list(csv.DictReader(file, delimiter="\t"))
    sounds = [
        describe_sound(soundfile.read(options.data / clip["file"], dtype="float32")[0])
        for clip in tqdm(clips, desc="describing sounds", unit="clip")
    ]
    with np.load(options.data / "mnist_10k.npz", allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    digits = np.array([int(clip["digit"]) for clip in clips])
    pictures = [describe_picture(image) for image in images[pair(digits, labels)]]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_name(f".{options.out.name}.partial.npz")
    np.savez(
        partial,
        id=np.array([Path(clip["file"]).stem for clip in clips]),
        vision=np.stack(pictures),
        audio=np.stack(sounds),
        label=digits.astype(str),
        speaker=np.array([clip["speaker"] for clip in clips]),
        split=np.full(len(clips), "train"),
    )
    partial.replace(options.out)
    print(f"{options.out}: {len(clips)} digits of {len({clip['speaker'] for clip in clips})} speakers")


if __name__ == "__main__":
    main()
