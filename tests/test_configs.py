"""Every configuration of the repository makes the objects it names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import qmm.fusion
from qmm.fusion import MultiEncoderFusion, QuantumFusion
from qmm.language.tokenizer import SentenceTokenizer
from qmm.study import read_study
from qmm.training import Initialisation, LayerwiseGrowth
from qmm.training.cli import TrainingCLI

CONFIGS = Path(__file__).parents[1] / "configs"
BASES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
OVERLAYS = sorted(
    str(path.relative_to(CONFIGS))
    for folder in (
        "backend",
        "compressors",
        "encoders",
        "fusion",
        "initialisers",
        "modalities",
        "optimisers",
        "regularisation",
        "training",
    )
    for path in (CONFIGS / folder).glob("*.yaml")
)
STUDIES = sorted((CONFIGS / "studies").glob("*.yaml"))
FUSIONS = {
    "concat": "ConcatFusion",
    "few_meetings": "QuantumFusion",
    "gated": "GatedFusion",
    "kernel": "KernelFusion",
    "late": "LateFusion",
    "low_rank": "LowRankFusion",
    "mfb": "MFBFusion",
    "multiplicative": "MultiplicativeFusion",
    "reupload": "QuantumFusion",
    "sham_frozen": "QuantumFusion",
    "sham_local": "QuantumFusion",
    "tensor": "TensorFusion",
    "three_qubits": "QuantumFusion",
    "transformer": "CrossModalTransformer",
}
BACKENDS = {  # what simulates or runs circuits, and the device that they are transpiled for
    "exact": (None, None),
    "cut": ("NoneType", None),  # backends of its own
    "shots": ("Ideal", None),
    "aer": ("Aer", None),
    "aer_density_matrix": ("Aer", "fake_torino"),
    "aer_mps": ("Aer", None),
    "aer_noise": ("Aer", "own device"),
    "fake_torino": ("Aer", "fake_torino"),
    "fake_guadalupe": ("Aer", "fake_guadalupe"),
    "fake_almaden": ("Aer", "fake_almaden"),
    "runtime_fake": ("Runtime", "fake_torino"),
    "ibm": ("Runtime", "ibm_torino"),
}
REGULARISED = {
    "angle_noise": "AngleNoise",
    "entangler_dropout": "GateDropout",
    "gate_dropout": "GateDropout",
    "pauli_noise": "PauliNoise",
    "weight_decay": "PeriodicWeightDecay",
}
STARTING = (Initialisation, LayerwiseGrowth)
STARTED = {
    "ada_init": "AdaInit",
    "ada_init_bayesian": "AdaInit",
    "ada_init_language": "AdaInit",
    "beta": "Beta",
    "identity_blocks": "IdentityBlocks",
    "layerwise": "LayerwiseGrowth",
    "mirrored_uniform": "Uniform",
    "orthogonal_like": "OrthogonalLike",
    "own": "NoneType",
    "small_angle": "SmallAngle",
    "uniform": "Uniform",
    "warm_start": "WarmStart",
    "xavier": "Xavier",
}
OPTIMISERS = {
    "adamw": "Torch",
    "cobyla": "External",
    "natural_gradient": "QuantumNaturalGradient",
    "natural_gradient_block": "QuantumNaturalGradient",
    "nft": "NFT",
    "qnspsa": "QNSPSA",
    "rotosolve": "Rotosolve",
    "spsa": "SPSA",
}
MITIGATIONS = sorted(path.stem for path in (CONFIGS / "backend" / "mitigation").glob("*.yaml"))
COMPARISONS = sorted((CONFIGS / "comparisons").glob("*.yaml"))
REAL = {
    "av_captioning": "av-scenes/manifest.jsonl",
    "av_questions": "av-scenes/manifest.jsonl",
    "av_retrieval": "av-scenes/manifest.jsonl",
    "av_scenes": "av-scenes/manifest.jsonl",
    "av_scenes_features": "av-scenes/manifest.jsonl",
    "mosi": "mosi-features/train.npz",
    "nlvr": "nlvr/examples.jsonl",
}
COMPUTED = {  # widths by modality, and classes
    "av_digits": ({"vision": 49, "audio": 80}, [*"0123456789", "0"]),
    "mosi_transcripts": ({"audio": 73, "text": 384}, ["negative", "positive", "positive"]),
    "sst2": ({"text": 384}, ["negative", "positive", "positive"]),
}
LANGUAGE = sorted(str(path.relative_to(CONFIGS)) for path in (CONFIGS / "language").glob("*"))
FROZEN = ("av_captioning", "av_questions", "av_retrieval", "av_scenes_features")


@pytest.fixture
def instantiate(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path):
    def make(base: str, *overlays: str) -> TrainingCLI:
        flags = ["--config", str(CONFIGS / f"{base}.yaml")]
        for overlay in overlays:
            flags += ["--config", str(CONFIGS / overlay)]
        if base in REAL:
            flags += ["--data.init_args.path", str(request.getfixturevalue("real_data") / REAL[base])]
        if base in COMPUTED:  # a command makes its features, and any will do
            widths, classes = COMPUTED[base]
            arrays: dict[str, Any] = {m: np.ones((len(classes), width), np.float32) for m, width in widths.items()}
            names: dict[str, Any] = dict.fromkeys(("label", "labels", "speaker", "video_id"), np.array(classes))
            rows = np.arange(len(classes)).astype(str)
            np.savez(tmp_path / "x.npz", **arrays, **names, id=rows, split=np.array(["train"] * (len(classes) - 1) + ["test"]))
            flags += ["--data.init_args.path", str(tmp_path / "x.npz")]
        if base in FROZEN:  # encoders that were trained before: any will do
            checkpoint = request.getfixturevalue("trained") / "checkpoints" / "last.ckpt"
            for modality in ("vision", "audio"):
                flags += [f"--model.init_args.model.{modality}.encoder.init_args.checkpoint", str(checkpoint)]
        monkeypatch.setattr(TrainingCLI, "_run_subcommand", lambda self, subcommand: None)
        return TrainingCLI(["fit", *flags, "--runs", str(tmp_path)])

    return make


@pytest.mark.parametrize("base", [pytest.param(b, marks=pytest.mark.data if b in REAL else ()) for b in BASES])
def test_bases(instantiate, base: str) -> None:
    made = instantiate(base)
    assert isinstance(made.model.model.fusion, MultiEncoderFusion if base == "sst2" else QuantumFusion)
    assert getattr(made.model, "classes", made.datamodule.classes) == made.datamodule.classes
    assert set(made.model.model.branches) <= set(made.datamodule.modalities)
    assert made.folder.name == base


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays(instantiate, overlay: str) -> None:
    made = instantiate("quickstart", overlay)
    model = made.model.model
    kind, name = overlay.removesuffix(".yaml").split("/")
    if kind == "modalities":
        assert list(model.branches) == name.split("_")
    elif kind == "compressors":
        expected = {
            "pca": "PCACompressor",
            "quantum_autoencoder": "QuantumAutoencoder",
            "classical_autoencoder": "ClassicalAutoencoder",
            "quantum_kernel_pca": "QuantumKernelPCA",
            "kernel_pca": "RBFKernelPCA",
        }
        compressors = [branch.compressor for branch in model.branches.values()]
        assert {type(c).__name__ for c in compressors} == {expected[name.removesuffix("_finetuned")]}
        assert all(any(p.requires_grad for p in c.parameters()) == name.endswith("_finetuned") for c in compressors)
    elif kind == "backend":
        provider = getattr(model.fusion.backend, "provider", None)
        found = type(provider).__name__, getattr(provider.device, "name", None) if provider else None
        assert found == BACKENDS[name] or (provider is None and name == "exact")
    elif kind == "encoders":
        assert {b.encoder.frozen for b in model.branches.values()} == {name == "frozen"}
        expected = {"torchvision": "TorchvisionViTEncoder", "open_clip": "OpenClipVisionEncoder", "frozen": "ViTEncoder"}
        assert type(model.branches["vision"].encoder).__name__ == expected[name]
    elif kind == "initialisers":
        started = [type(getattr(c, "initialiser", c)).__name__ for c in made.trainer.callbacks if type(c) in STARTING]
        assert started == [STARTED[name]]
    elif kind == "optimisers":
        assert type(made.model.circuit_optimizer).__name__ == OPTIMISERS[name]
    elif kind == "regularisation":
        callbacks = [callback for callback in made.trainer.callbacks if "regularisation" in type(callback).__module__]
        used = [type(p).__name__ for c in callbacks for p in getattr(c, "perturbations", [c])]
        assert used == [REGULARISED[name]]
    elif kind == "training":
        assert {"dynamics": "Dynamics", "robustness": "Robustness"}[name] in [
            type(callback).__name__ for callback in made.trainer.callbacks
        ]
    else:
        assert type(model.fusion) is getattr(qmm.fusion, FUSIONS[name])
        assert getattr(model.fusion, "sham", None) == (name.removeprefix("sham_") if name.startswith("sham_") else None)
        assert getattr(model.fusion, "reupload", False) == (name == "reupload")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_name_files_that_exist(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    study = read_study(path)
    firsts = {
        "general_ability": "full",
        "mosi": "tav-quantum",
        "optimisers_mosi": "adamw",
        "optimisers_quickstart": "adamw",
        "polynomials": "superposition",
    }
    assert next(iter(study.arms)) == firsts.get(path.stem, "quantum")
    assert len(study.seeds) >= 3


@pytest.mark.parametrize("overlay", LANGUAGE)
def test_language_models(instantiate, overlay: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small Llama in the place of SmolLM2, which is one."""
    monkeypatch.chdir(tmp_path)
    tokenizer = SentenceTokenizer.train(["waves roll in", "a dog barks"], 300)
    special: dict[str, Any] = {"eos_token_id": tokenizer.end, "bos_token_id": tokenizer.begin, "pad_token_id": tokenizer.pad}
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes, **special)
    LlamaForCausalLM(config).save_pretrained("models/smollm2")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.json), eos_token="<|end|>", pad_token="<|pad|>"
    )
    fast.save_pretrained("models/smollm2")
    reviews = tmp_path.parent / "shared" / "data" / "sst2" / "dev.tsv"
    reviews.parent.mkdir(parents=True, exist_ok=True)
    reviews.write_text("sentence\tlabel\na film that nobody needs\t0\n")
    made = instantiate("quickstart_captions", *dict.fromkeys(["language/smollm2.yaml", overlay]))
    decoder = made.model.model.decoder
    assert decoder.tuning == {"smollm2": "full", "lora": "lora", "frozen": "frozen"}[Path(overlay).stem]
    assert any(p.requires_grad for p in decoder.language_parameters()) == (decoder.tuning != "frozen")
    assert "GeneralAbility" in [type(callback).__name__ for callback in made.trainer.callbacks]


@pytest.mark.parametrize("name", MITIGATIONS)
def test_mitigations(instantiate, name: str) -> None:
    """Over a device, which keeps its own settings; without circuits being run."""
    backend = instantiate(
        "quickstart", "backend/fake_guadalupe.yaml", f"backend/mitigation/{name}.yaml"
    ).model.model.fusion.backend
    assert backend.provider.device.name == "fake_guadalupe"
    assert backend.mitigation
    assert len(backend.mitigation) >= len(name.split("_")) - (name in ("zne_exponential", "zne_polynomial"))


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_comparisons_name_overlays_that_exist(path: Path) -> None:
    cases = yaml.safe_load(path.read_text())["cases"]
    overlays = [case["overlays"] if isinstance(case, dict) else case for case in cases.values()]
    assert sum(map(len, overlays)) > len(cases) / 2
    assert all((CONFIGS.parent / overlay).is_file() for case in overlays for overlay in case)


def test_every_file_is_covered() -> None:
    found = {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml")}
    assert found == {f"{base}.yaml" for base in BASES} | set(OVERLAYS) | set(LANGUAGE) | {
        *(f"studies/{path.name}" for path in STUDIES),
        *(f"comparisons/{path.name}" for path in COMPARISONS),
        *(f"search/{path.name}" for path in (CONFIGS / "search").glob("*.yaml")),  # tests/search reads each of them
        *(f"trainability/{path.name}" for path in (CONFIGS / "trainability").glob("*.yaml")),  # tests/trainability does
        *(f"backend/mitigation/{name}.yaml" for name in MITIGATIONS),
    }
