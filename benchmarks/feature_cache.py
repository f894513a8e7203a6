"""How much faster an epoch is when frozen encoders are read from the feature cache.

    python benchmarks/feature_cache.py

Scenes made on the spot, a frozen ViT and a frozen AST of the size given (random weights: the speed is the same as with
pretrained ones). The same training epoch runs without cache, with an empty one (which is filled), and with a full one, in one
process; printed are the ratios.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from lightning import Trainer

from qmm import Branch, MultimodalModel
from qmm.data import ScenesDataModule
from qmm.decoders import ClassDecoder
from qmm.encoders import ASTEncoder, LinearCompressor, LogMel, ViTEncoder
from qmm.fusion import QuantumFusion
from qmm.tasks import MultimodalClassification
from qmm.training import FeatureCaching


def epoch(width: int, layers: int, size: int, cache: Path | None) -> tuple[float, float]:
    """Seconds of filling the cache and setting up, and of one training epoch."""
    torch.manual_seed(0)
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 2 * width}
    ears = LogMel(sample_rate=8000, seconds=1.0, n_mels=32, n_fft=512, hop=128)
    data = ScenesDataModule(size=size, val_size=0, test_size=0, modalities=["vision", "audio"])
    model = MultimodalModel(
        QuantumFusion(3),
        ClassDecoder(data.classes),
        vision=Branch(ViTEncoder({**shape, "image_size": 48}, tuning="frozen"), LinearCompressor(4)),
        audio=Branch(ASTEncoder(shape, front_end=ears, tuning="frozen"), LinearCompressor(4)),
    )
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "enable_progress_bar": False}
    callbacks = [FeatureCaching(str(cache))] if cache else []
    trainer = Trainer(max_epochs=1, accelerator="cpu", limit_val_batches=0, callbacks=callbacks, **quiet)
    task = MultimodalClassification(model)
    marks: list[float] = []
    task.on_train_epoch_start = lambda: marks.append(time.perf_counter())  # type: ignore[method-assign]
    task.on_train_epoch_end = lambda: marks.append(time.perf_counter())  # type: ignore[method-assign]
    began = time.perf_counter()
    trainer.fit(task, datamodule=data)
    return marks[0] - began, marks[1] - marks[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=192, help="of both transformers")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--size", type=int, default=480, help="training samples")
    options = parser.parse_args()
    shape = (options.width, options.layers, options.size)
    epoch(*shape[:2], 64, None)  # warm up
    with tempfile.TemporaryDirectory() as folder:
        _, without = epoch(*shape, None)
        filling, first = epoch(*shape, Path(folder))
        reading, later = epoch(*shape, Path(folder))
    print(f"an epoch from the cache against one without: {without / later:.1f} x faster")
    print(f"the first run, which fills the cache (its set-up included): {without / (filling + first):.2f} x")
    print(f"a later run (its set-up included): {without / (reading + later):.1f} x")


if __name__ == "__main__":
    main()
