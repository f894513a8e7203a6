"""Which features of each modality to keep, as a configuration's encoders make them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from lightning import LightningDataModule
from numpy.typing import NDArray
from tqdm.auto import tqdm

from qmm.contracts import Encoder
from qmm.discrete.dependence import redundancy, relevance
from qmm.discrete.features import feature_selection
from qmm.discrete.problem import Choice, Problem
from qmm.discrete.solver import Solver
from qmm.errors import InputError
from qmm.types import Batch, Features

Floats = NDArray[np.float64]
NAMED = ("vision", "audio", "text")
"""Modalities that MultimodalModel has arguments for; it takes the others in a dictionary."""


class Pooled(NamedTuple):
    """The training samples that have every modality, encoded."""

    features: dict[str, Floats]
    """By modality, (N, D)."""
    targets: NDArray[Any]
    """(N,): class indices, or values."""
    left_out: int
    """Samples without a target, or without one of the modalities."""


class Selected(NamedTuple):
    """Which features were kept."""

    indices: dict[str, list[int]]
    """By modality, among its encoder's features."""
    choice: Choice
    relevant: Choice
    """What the most relevant features alone would have been, to compare with."""
    seconds: float


def select(
    pooled: Pooled,
    keep: Mapping[str, int],
    solver: Solver,
    balance: float = 1.0,
    candidates: int | None = None,
    redundancy_by: str = "bins",
) -> Selected:
    """So many features of each modality, relevant to the target and little redundant, within and across modalities.

    Args:
        keep: How many by modality.
        solver: Finds them; penalties are tried at full, half and a quarter of their strength (`Solver.solve`).
        balance: How much redundancy weighs.
        candidates: Of each modality, only so many of its most relevant features are looked at; by default all.
        redundancy_by: "bins" or "correlation", as in `qmm.discrete.redundancy`.

    Raises InputError for more features than a modality has.
    """
    places: dict[str, NDArray[np.intp]] = {}
    relevances: dict[str, Floats] = {}
    for modality, number in keep.items():
        own = relevance(pooled.features[modality], pooled.targets)
        if number > len(own):
            raise InputError(f"{number} features of {modality}, whose encoder makes {len(own)}; keep at most these")
        kept = len(own) if candidates is None else max(candidates, number)
        places[modality] = np.sort(np.argsort(-own, kind="stable")[:kept])
        relevances[modality] = own[places[modality]]
    values = np.concatenate([pooled.features[m][:, places[m]] for m in keep], axis=1)
    owners = [m for m in keep for _ in places[m]]
    names = [f"{m}:{place}" for m in keep for place in places[m].tolist()]
    worth = np.concatenate([relevances[m] for m in keep])
    problem = feature_selection(
        worth, redundancy(values, method=redundancy_by), dict(keep), balance, groups=owners, names=names
    )
    solution = solver.solve(problem, shares=(1.0, 0.5, 0.25))
    chosen: dict[str, list[int]] = {m: [] for m in keep}
    flat = [place for m in keep for place in places[m].tolist()]
    for index in solution.choice.chosen:
        chosen[owners[index]].append(flat[index])
    return Selected(chosen, solution.choice, _most_relevant(problem, worth, owners, keep), solution.seconds)


def _most_relevant(problem: Problem, worth: Floats, owners: Sequence[str], keep: Mapping[str, int]) -> Choice:
    sample = dict.fromkeys(range(len(worth)), 0)
    for modality, number in keep.items():
        own = [i for i, owner in enumerate(owners) if owner == modality]
        sample.update(dict.fromkeys(sorted(own, key=lambda i: -worth[i])[:number], 1))
    return problem.read(sample)


def named_solver(name: str) -> Solver:
    """From the name of a class of qmm.discrete, a class path, or a YAML file with `class_path` and `init_args`."""
    from qmm.training.cli import instantiate

    if name.endswith((".yaml", ".yml")):
        try:
            config = yaml.safe_load(Path(name).read_text())
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"--solver {name}: {error}") from error
    else:
        config = {"class_path": name if "." in name else f"qmm.discrete.{name}"}
    try:
        return instantiate(Solver, config)
    except Exception as error:  # whatever jsonargparse makes of a wrong name or argument
        known = ", ".join(cls.__name__ for cls in _solvers())
        raise InputError(f"--solver {name}: {error}; there are {known}, and files with `class_path` and `init_args`") from error


def _solvers() -> list[type[Solver]]:
    import qmm.discrete

    found = [getattr(qmm.discrete, name) for name in qmm.discrete.__all__]
    return [cls for cls in found if isinstance(cls, type) and issubclass(cls, Solver) and cls is not Solver]


@torch.no_grad()
def read_features(plain: Mapping[str, Any], modalities: Sequence[str]) -> Pooled:
    """The training split of a configuration (`qmm.costs.configuration.parse`), encoded; with `cache`, features of frozen
    encoders are kept there, and taken from there."""
    from qmm.training.caching import cache_frozen
    from qmm.training.cli import instantiate

    if not plain.get("data"):
        raise InputError("no data: give a configuration with it, e.g. `--config configs/mosi.yaml`")
    encoders = _encoders(plain, modalities)
    data = instantiate(LightningDataModule, plain["data"])
    data.connect({modality: encoder.preprocess for modality, encoder in encoders.items()})
    data.setup("fit")
    if plain["cache"]:
        cache_frozen(data, encoders, plain["cache"], torch.device("cpu"))
    loader = data.plain_train_dataloader()
    if plain.get("ckpt_path") is None and not all(encoder.frozen for encoder in encoders.values()):
        for encoder in encoders.values():
            encoder.train()  # what standardises its inputs has yet to see them
        _encode(loader, encoders, "statistics")
    for encoder in encoders.values():
        encoder.eval()
    found = _encode(loader, encoders, "encoding")
    return found._replace(left_out=found.left_out + data.dropped.get("train", 0))


def _encoders(plain: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, Encoder]:
    """With the weights of a checkpoint, where one is given."""
    from qmm.training.cli import instantiate

    if plain.get("ckpt_path"):
        from qmm.loading import load

        found = {m: branch.encoder for m, branch in load(plain["ckpt_path"]).model.branches.items()}
    else:
        wanted = {m: branch for m, branch in branches(plain).items() if m in modalities}
        found = {m: instantiate(Encoder, branch["encoder"]) for m, branch in wanted.items()}
    missing = [m for m in modalities if m not in found]
    if missing:
        raise InputError(
            f"--keep names {', '.join(missing)}; the model has no such modality, see the branches of its configuration"
        )
    for modality in modalities:
        if plain.get("ckpt_path") is None and any(p.requires_grad for p in found[modality].parameters()):
            print(
                f"note: the encoder of {modality} is trained, and no checkpoint is given: its features are those of its first "
                "weights (--ckpt_path FILE takes trained ones)",
                file=sys.stderr,
            )
    return {m: found[m] for m in modalities}


def branches(plain: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The arguments of each modality's Branch in a parsed configuration."""
    model = _arguments(plain["model"]["init_args"]["model"])
    named = {m: model.get(m) for m in NAMED} | (model.get("others") or {})
    return {modality: _arguments(branch) for modality, branch in named.items() if branch}


def _arguments(config: Any) -> Mapping[str, Any]:
    return config["init_args"] if "class_path" in config else config


def _encode(loader: Any, encoders: Mapping[str, Encoder], what: str) -> Pooled:
    rows: dict[str, list[Floats]] = {m: [] for m in encoders}
    targets: list[NDArray[Any]] = []
    total = 0
    batch: Batch
    for batch in tqdm(loader, desc=what, unit="batch", delay=2.0, leave=False):
        label = batch.targets.get("label")
        if not isinstance(label, torch.Tensor):
            raise InputError("the data has no classes and no values to be relevant to; name them in `label`")
        total += len(label)
        there = torch.stack([batch.present[m] for m in encoders]).all(dim=0)
        there &= label.isfinite() if label.is_floating_point() else label >= 0
        if not there.any():
            continue
        targets.append(label[there].numpy())
        for modality, encoder in encoders.items():
            given = batch.inputs[modality]
            if given is None:
                raise InputError(f"the data says that samples have {modality}, and gives none")
            own = given.rows(there)
            features = own if isinstance(own, Features) else encoder(*own)
            rows[modality].append(features.pooled.double().cpu().numpy())
    if not targets:
        raise InputError(
            f"no training sample has all of {', '.join(encoders)}, and a target; select fewer modalities at a time"
        )
    found = np.concatenate(targets)
    return Pooled({m: np.concatenate(own) for m, own in rows.items()}, found, total - len(found))
