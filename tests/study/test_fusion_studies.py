"""The studies of fusions: arms of equal size, as far as whole numbers allow, and the classes that they name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from qmm.decoders import ClassDecoder
from qmm.loading import build
from qmm.model import counterpart_of
from qmm.study import Study, read_study

WIDTHS = {"av_scenes_fusions": {"vision": 8, "audio": 8}, "mosi_fusions": {"vision": 4, "audio": 4, "text": 4}}
CLASSES = {"av_scenes_fusions": 12, "mosi_fusions": 2}


def merged(study: Study, arm: str) -> dict[str, Any]:
    """What the arm's configurations say of the model's fusion, as the command line reads them: later ones overlay earlier."""
    fusion: dict[str, Any] = {}
    counterpart = None
    for config in study.arms[arm]:
        content = config if isinstance(config, dict) else yaml.safe_load(Path(config).read_text())
        model = content.get("model", {}).get("init_args", {}).get("model", {})
        counterpart = model.get("counterpart", counterpart)
        own = model.get("fusion", {})
        if own.get("class_path", fusion.get("class_path")) != fusion.get("class_path"):
            fusion = {"class_path": own["class_path"], "init_args": {}}
        fusion.setdefault("init_args", {}).update(own.get("init_args", {}))
    return {"fusion": fusion, "counterpart": counterpart}


def completed(value: Any) -> Any:
    """YAML may leave out init_args where there are none."""
    if isinstance(value, dict):
        filled = {"init_args": {}, **value} if "class_path" in value else value
        return {key: completed(item) for key, item in filled.items()}
    return value


@pytest.mark.parametrize("name", WIDTHS)
def test_arms_are_of_equal_size_or_of_the_nearest_there_is(
    name: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    study, widths = read_study(f"configs/studies/{name}.yaml"), WIDTHS[name]
    sizes = {}
    for arm in study.arms:
        config, decoder = merged(study, arm), ClassDecoder([str(i) for i in range(CLASSES[name])])
        fusion = build(completed(config["fusion"]))
        fusion.build(widths)
        if config["counterpart"]:
            fusion = counterpart_of(fusion, decoder, widths, config["counterpart"])
        sizes[arm] = sum(p.numel() for p in fusion.parameters()) + decoder.count_parameters(fusion.out_features)
    budget = sizes["quantum"]
    matched = [arm for arm, size in sizes.items() if abs(size - budget) <= 0.05 * budget]
    assert len(matched) >= 14
    others = {arm for arm in sizes if arm not in matched and not arm.endswith(("-below", "-above"))}
    assert others <= {"lcu", "superposition"}
    assert all(abs(sizes[arm] / budget - 1) < 0.1 for arm in others)
    for arm, size in sizes.items():
        assert not arm.endswith("-below") or size < budget
        assert not arm.endswith("-above") or size > budget
    for arm in ("sham-local", "sham-frozen"):
        assert sizes[arm] == budget


@pytest.mark.parametrize("name", WIDTHS)
def test_effort_is_equal_and_the_val_split_is_held_back(name: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    study = read_study(f"configs/studies/{name}.yaml")
    assert len(study.seeds) == 5
    assert study.tuning is not None
    assert study.tuning.held_out["data"]["init_args"]["fold"] == 0
    per_arm = {arm: [cell.choice for cell in study.trials() if cell.arm == arm] for arm in study.arms}
    assert all(tried == list(study.tuning.choices) for tried in per_arm.values())
