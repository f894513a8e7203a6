"""A study's YAML file -> Study; every mistake is named before anything runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qmm.errors import InputError
from qmm.study.plan import ALL, Config, Study
from qmm.study.tuning import METHODS, Overlay, Range, Space, Tuning, draw, grid
from qmm.suggestions import did_you_mean

KEYS = {"name", "configs", "arms", "seeds", "metric", "tuning", "sizes", "folds", "compare", "counterparts", "robustness"}
ARM_KEYS = {"configs", "grid", "space"}
TUNING_KEYS = {"held_out", "folds", "grid", "method", "trials", "space", "seeds", "metric", "best"}


def read_study(path: str | Path) -> Study:
    """Reads a study:

    configs: files or overlays that all arms have; arms: name -> list of files or overlays, or {configs, grid | space} for an
    arm that is tuned over settings of its own; seeds: list, or how many; metric; sizes: training sizes, `all` for the whole
    split; folds: see `Study.folds`; compare: pairs of arms; counterparts: whether they join in by themselves; robustness:
    arguments of `qmm.robustness.Robustness`; tuning: {folds | held_out, grid | method, trials, space, seeds, metric, best}.

    Raises InputError naming the file and the key at fault.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"study {path} does not exist; give a YAML file, e.g. configs/studies/quickstart.yaml")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"study {path} is not YAML: {error}") from error
    if not isinstance(content, dict) or set(content) - KEYS or not {"configs", "arms", "seeds"} <= set(content):
        more = ", ".join(sorted(KEYS - {"configs", "arms", "seeds"}))
        raise InputError(f"study {path}: expected the keys configs, arms, seeds (and {more}), got {content and list(content)}")
    where = f"study {path}"
    common, arms = content["configs"], content["arms"]
    if not isinstance(arms, dict) or not arms or not isinstance(common, list):
        raise InputError(f"{where}: `configs` must be a list and `arms` map names to lists of overlays, got {arms!r}")
    metric = content.get("metric", "accuracy")
    tuned = content.get("tuning")
    study = Study(
        content.get("name", path.stem),
        {str(arm): (*common, *_overlays(own, f"{where}, arm {arm!r}")) for arm, own in arms.items()},
        _seeds(content["seeds"], where),
        metric,
        _tuning(tuned, arms, metric, where) if tuned is not None else None,
        _sizes(content.get("sizes", ["all"]), where),
        _folds(content.get("folds", 0), where),
        _pairs(content.get("compare", []), arms, where),
        _flag(content.get("counterparts", True), where),
        _robustness(content.get("robustness"), where),
    )
    _check(study, where)
    return study


def _check(study: Study, where: str) -> None:
    for arm, configs in study.arms.items():
        for config in configs:
            if not isinstance(config, dict) and not Path(config).is_file():
                raise InputError(f"{where}, arm {arm!r}: {config} does not exist; paths are relative to where qmm is started")
    if study.tuning is not None and study.folds:
        raise InputError(
            f"{where}: with `folds` each seed holds out other samples, and `tuning` would choose by them; take fixed settings, "
            "or leave out `folds`"
        )
    if study.tuning is not None and study.sizes != (ALL,) and not study.tuning.folds:
        raise InputError(
            f"{where}: with `sizes` say `tuning: {{folds: 4}}` in place of `held_out`: few samples are what it is tuned on"
        )


def _overlays(given: Any, where: str) -> list[Config]:
    own = given.get("configs") if isinstance(given, dict) else given
    if isinstance(given, dict) and (set(given) - ARM_KEYS or len(set(given) & {"grid", "space"}) > 1):
        raise InputError(
            f"{where}: expected a list of overlays, or the keys configs and either grid or space, got {list(given)}"
        )
    if own is not None and not isinstance(own, list):
        raise InputError(f"{where}: expected a list of files and overlays, got {own!r}")
    return list(own or [])


def _seeds(given: Any, where: str) -> tuple[int, ...]:
    seeds = range(given) if isinstance(given, int) else given
    if not isinstance(seeds, list | range) or not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise InputError(f"{where}: `seeds` must be whole numbers, or how many, got {given!r}")
    return tuple(dict.fromkeys(seeds))


def _sizes(given: Any, where: str) -> tuple[int, ...]:
    if not isinstance(given, list) or not given or not all(size == "all" or (type(size) is int and size > 0) for size in given):
        raise InputError(f"{where}: `sizes` lists numbers of training samples, and `all` for every one, got {given!r}")
    return tuple(ALL if size == "all" else size for size in dict.fromkeys(given))


def _folds(given: Any, where: str, key: str = "folds") -> int:
    if type(given) is not int or given < 0 or given == 1:
        raise InputError(f"{where}: `{key}` is a number of parts, 2 or more, got {given!r}")
    return given


def _pairs(given: Any, arms: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(given, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in given):
        raise InputError(f"{where}: `compare` lists pairs of arms such as [quantum, classical], got {given!r}")
    for arm in (arm for pair in given for arm in pair):
        if arm not in arms:
            raise InputError(f"{where}: `compare` names {arm!r}, which is no arm{did_you_mean(str(arm), list(map(str, arms)))}")
    return tuple((str(a), str(b)) for a, b in given)


def _flag(given: Any, where: str) -> bool:
    if not isinstance(given, bool):
        raise InputError(f"{where}: `counterparts` is true or false, got {given!r}")
    return given


def _robustness(given: Any, where: str) -> Overlay | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InputError(f"{where}: `robustness` holds arguments of qmm.robustness.Robustness such as levels, got {given!r}")
    return {"trainer": {"callbacks+": [{"class_path": "qmm.robustness.Robustness", "init_args": given}]}}


def _tuning(given: Any, arms: Mapping[str, Any], metric: str, where: str) -> Tuning:
    where = f"{where}: `tuning`"
    if not isinstance(given, dict) or set(given) - TUNING_KEYS:
        raise InputError(f"{where} has the keys {', '.join(sorted(TUNING_KEYS))}, got {given and list(given)}")
    held_out, folds = given.get("held_out", {}), _folds(given.get("folds", 0), where)
    if not isinstance(held_out, dict) or bool(held_out) == bool(folds):
        raise InputError(
            f"{where} holds out a part of the training split: say `folds: 4`, or give in `held_out` an overlay such as "
            f"{{data: {{init_args: {{fold: 0}}}}}}, got held_out {held_out!r}, folds {folds}"
        )
    method, best = given.get("method", "grid"), given.get("best", "highest")
    if method not in METHODS or best not in ("highest", "lowest"):
        raise InputError(
            f"{where}: method is one of {', '.join(METHODS)}, best 'highest' or 'lowest', got {method!r}, {best!r}"
        )
    key, other = ("grid", "space") if method == "grid" else ("space", "grid")
    if other in given or key not in given or ("trials" in given) != (method != "grid"):
        raise InputError(
            f"{where}: method grid takes `grid`, others `space` and `trials`, got {method} with {', '.join(map(str, given))}"
        )
    tuning = Tuning(
        held_out, {}, _seeds(given.get("seeds", 1), where), given.get("metric", metric), best == "lowest", folds, method=method
    )
    own = {str(arm): content[key] for arm, content in arms.items() if isinstance(content, dict) and key in content}
    if wrong := [arm for arm, content in arms.items() if isinstance(content, dict) and other in content]:
        raise InputError(f"{where} is by {key}, and arm {wrong[0]!r} gives a `{other}`")
    if method == "grid":
        return _with_grids(tuning, given["grid"], own, where)
    trials = given["trials"]
    if type(trials) is not int or trials < 1:
        raise InputError(f"{where}: `trials` is how many choices each arm gets, 1 or more, got {trials!r}")
    space = _space(given["space"], f"{where}.space")
    spaces = {arm: _space(content, f"{where}, arm {arm!r}: `space`") for arm, content in own.items()}
    if method == "optuna":
        return tuning._replace(trials=trials, space=space, own_spaces=spaces)
    return tuning._replace(choices=draw(space, trials), own={arm: draw(content, trials) for arm, content in spaces.items()})


def _with_grids(tuning: Tuning, common: Any, own: Mapping[str, Any], where: str) -> Tuning:
    for name, values in {"": common, **own}.items():
        if not isinstance(values, dict) or not values or not all(isinstance(v, list) and v for v in values.values()):
            at = f", arm {name!r}" if name else ""
            raise InputError(
                f"{where}{at}: `grid` maps settings such as model.init_args.learning_rate to lists, got {values!r}"
            )
    choices, others = grid(common), {arm: grid(values) for arm, values in own.items()}
    for arm, tried in others.items():
        if len(tried) != len(choices):
            raise InputError(
                f"{where}: arm {arm!r} tries {len(tried)} settings, others {len(choices)}; arms are compared at equal effort"
            )
    return tuning._replace(choices=choices, own=others)


def _space(given: Any, where: str) -> Space:
    if not isinstance(given, dict) or not given:
        raise InputError(f"{where} maps settings such as model.init_args.learning_rate to lists or ranges, got {given!r}")
    return {str(name): _values(values, f"{where}.{name}") for name, values in given.items()}


def _values(given: Any, where: str) -> Range | list[Any]:
    if isinstance(given, list) and given:
        return given
    if not isinstance(given, dict) or not {"low", "high"} <= set(given) <= {"low", "high", "log"}:
        raise InputError(f"{where} is a list, or a range such as {{low: 0.001, high: 0.1, log: true}}, got {given!r}")
    low, high, log = given["low"], given["high"], given.get("log", False)
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not low < high or (log and low <= 0):
        raise InputError(f"{where}: expected low < high, both above 0 where log is true, got {low!r} and {high!r}")
    return Range(low, high, bool(log), isinstance(low, int) and isinstance(high, int))
