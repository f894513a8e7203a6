"""`qmm robustness`"""

import argparse
import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from lightning import LightningDataModule
from tqdm.auto import tqdm

from qmm.errors import InputError
from qmm.files import write_json
from qmm.loading import load
from qmm.robustness.evaluating import Evaluation
from qmm.robustness.noise import NOISES
from qmm.robustness.picture import picture
from qmm.robustness.plan import LEVELS, Plan
from qmm.robustness.tables import curve_table, robustness_table, summary_table
from qmm.suggestions import did_you_mean
from qmm.training.cli import ConfigurationCLI, instantiate


class Model(NamedTuple):
    arm: str
    seed: int
    """Its place among those of its arm."""
    path: str


def main(args: list[str]) -> None:
    """Measures what is left, prints the tables, writes them and the picture."""
    options, rest = _parser().parse_known_args(args)
    plan = Plan(
        tuple(options.levels),
        None if options.kinds is None else tuple(options.kinds),
        None if options.modalities is None else tuple(options.modalities),
        dict(_named(text) for text in options.noise),
        options.seed,
    )
    models = named_models(options.ckpt_path)
    arms = list(dict.fromkeys(model.arm for model in models))
    baseline = options.baseline or (arms[0] if len(arms) > 1 else None)
    if baseline is not None and baseline not in arms:
        raise InputError(f"--baseline {baseline}: there are {', '.join(arms)}{did_you_mean(baseline, arms)}")
    evaluations = [_evaluation(model, plan, options, rest) for model in models]
    _check_alike(models, evaluations)
    metrics = list(evaluations[0].task.make_metrics())
    metric = options.metric or metrics[0]
    if metric not in metrics:
        raise InputError(f"--metric {metric}: the task has {', '.join(metrics)}{did_you_mean(metric, metrics)}")
    folder = Path(options.folder or Path(models[0].path).parent.parent / "robustness")
    tables = []
    for model, evaluation in zip(tqdm(models, unit="model", disable=len(models) < 2), evaluations, strict=True):
        tables.append(evaluation.run(folder / "points").assign(arm=model.arm, seed=model.seed))
    table = pd.concat(tables, ignore_index=True)
    if not len(table):
        raise InputError("nothing to measure: the models read none of the modalities given")
    _write(table, metric, baseline, folder, " ".join(["qmm robustness", *args]))


def named_models(given: Sequence[str]) -> list[Model]:
    """From "FILE", "NAME=FILE" or "NAME=PATTERN"; the files of one name are its seeds, in the order given.

    Raises InputError for a file that is not there, and where two files without a name would be called alike.
    """
    models: list[Model] = []
    for text in given:
        name, _, pattern = text.rpartition("=")
        paths = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern))
        if not paths:
            raise InputError(f"--ckpt_path {text}: there is no such file; give FILE, NAME=FILE or 'NAME=PATTERN'")
        for path in paths:
            place = Path(path).resolve()
            arm = name or (place.parent.parent.name if place.parent.name == "checkpoints" else place.stem)
            if not name and arm in [model.arm for model in models]:
                raise InputError(f"two models are called {arm!r}; name them, NAME={path}")
            models.append(Model(arm, sum(model.arm == arm for model in models), path))
    return models


def _evaluation(model: Model, plan: Plan, options: argparse.Namespace, rest: Sequence[str]) -> Evaluation:
    task = load(model.path, options.allow).to(options.device)
    config = ConfigurationCLI(["--ckpt_path", model.path, *rest], "qmm robustness").config.as_dict()
    if not config.get("data"):
        raise InputError(f"checkpoint {model.path} names no data; give a configuration with it, --config FILE")
    model_arguments = ((config.get("model") or {}).get("init_args") or {}).get("model") or {}
    if any(model_arguments.get(name) for name in ("backend", "gradient")):
        raise InputError("robustness is measured with exact circuits; leave out the backend, or see `qmm backends`")
    data = instantiate(LightningDataModule, config["data"])
    evaluation = Evaluation(task, data, plan, options.split)
    data.setup("test" if evaluation.split == "test" else "validate")
    return evaluation


def _check_alike(models: Sequence[Model], evaluations: Sequence[Evaluation]) -> None:
    """Raises InputError where models would be measured on different samples."""
    for model, evaluation in zip(models, evaluations, strict=True):
        if evaluation.samples != evaluations[0].samples:
            raise InputError(
                f"{models[0].path} and {model.path} were trained on different data: their {evaluation.split} splits are "
                f"{len(evaluations[0].samples)} and {len(evaluation.samples)} samples, not the same ones; give them the same "
                "data, by --config FILE or --data.init_args.path FILE"
            )


def _write(table: pd.DataFrame, metric: str, baseline: str | None, folder: Path, command: str) -> None:
    curves, single = curve_table(table, metric), table["arm"].nunique() == 1
    found = robustness_table(table, metric, baseline)
    summary = summary_table(found)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "robustness.csv", index=False)
    found.to_csv(folder / "summary.csv", index=False)
    write_json(
        folder / "robustness.json",
        {
            "command": command,
            "metric": metric,
            "baseline": baseline,
            "values": json.loads(table.to_json(orient="records")),
            "summary": json.loads(found.to_json(orient="records")),
        },
    )
    drawn = picture(table, metric)
    for suffix in ("png", "svg"):
        drawn.savefig(folder / f"robustness.{suffix}", dpi=130)
    hidden = ["arm"] if single else []
    print(f"{metric} by level of noise; missing: 1")
    print(curves.drop(columns=hidden).to_string(index=False, na_rep=""))
    against = "" if baseline is None else f"; effective: against {baseline}, 0 is as robust as that"
    print(f"\nrelative: mean {metric} over the levels, or when missing; retained: its share of the one without noise{against}")
    print(summary.drop(columns=hidden).to_string(index=False, na_rep="-"))
    print(f"\nTables and picture: {folder}/robustness.csv, summary.csv, robustness.json, robustness.png, robustness.svg")


def _named(text: str) -> tuple[str, str]:
    modality, sign, name = text.partition("=")
    if not (modality and sign and name):
        raise InputError(f"--noise {text}: give MODALITY=NAME, vision=blur for instance")
    return modality, name


def _parser() -> argparse.ArgumentParser:
    listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in NOISES.items())
    parser = argparse.ArgumentParser(
        prog="qmm robustness",
        description="What is left of a trained model's metrics when one modality is noisy, at rising levels, or missing, on "
        "the split that it was evaluated on; of several models also which one holds better (relative and effective robustness "
        "of MultiBench, arXiv:2107.07502). All models are shown the same noise. Started again after a kill, it measures what "
        "is left.",
        epilog="Every other flag is one of `qmm fit`, such as --config FILE or --data.init_args.path FILE, and goes to all "
        "models. Examples: qmm robustness --ckpt_path runs/mine/checkpoints/last.ckpt; "
        "qmm robustness --ckpt_path 'quantum=runs/quantum*/checkpoints/last.ckpt' 'concat=runs/concat*/checkpoints/last.ckpt' "
        "--baseline concat --folder robustness",
        usage="qmm robustness --ckpt_path [NAME=]FILE [...] [options] [flags of qmm fit]",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--ckpt_path", required=True, nargs="+", metavar="[NAME=]FILE", help="trained models; those of one name are its seeds"
    )
    parser.add_argument("--baseline", metavar="NAME", help="what effective robustness is measured against (default: the first)")
    parser.add_argument(
        "--levels", type=float, nargs="+", default=list(LEVELS), metavar="L", help="ascending from 0 (default: 0 0.2 ... 1)"
    )
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="noise, missing (default: both)")
    parser.add_argument("--modalities", nargs="+", metavar="M", help="to disturb (default: all)")
    parser.add_argument(
        "--noise", nargs="+", default=[], metavar="M=NAME", help=f"another noise than the first of its kind. {listed}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--split", choices=("val", "test"), help="which samples (default: test, else val)")
    parser.add_argument("--metric", help="of the printed tables and the picture (default: the task's first)")
    parser.add_argument("--folder", help="where all of it goes (default: robustness/ in the first model's run folder)")
    parser.add_argument(
        "--device", type=torch.device, default=torch.device("cuda" if torch.cuda.is_available() else "cpu"), help="cpu, cuda"
    )
    parser.add_argument("--allow", nargs="+", default=[], metavar="PACKAGE", help="packages whose classes they may build, too")
    return parser
