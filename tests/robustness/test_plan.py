"""What is measured, and what cannot be."""

import pytest

from qmm.errors import InputError
from qmm.robustness import Plan


def test_every_modality_gets_every_level_and_is_missing() -> None:
    points = Plan((0.0, 0.5, 1.0)).points(["vision", "audio", "text"])
    assert [(p.modality, p.level) for p in points if p.kind == "noise"] == [
        (m, level) for m in ("vision", "audio", "text") for level in (0.5, 1.0)
    ]
    gone = [p.modality for p in points if p.kind == "missing"]
    assert gone == ["vision", "audio", "text", "vision+audio", "vision+text", "audio+text"]
    two = Plan((0.0, 1.0), ("missing",)).points(["vision", "audio"])
    assert [p.modality for p in two] == ["vision", "audio"]


def test_what_the_model_does_not_read_is_passed_over() -> None:
    points = Plan((0.0, 1.0), modalities=("vision", "audio")).points(["audio", "text"], ["vision", "audio", "text"])
    assert [(p.kind, p.modality) for p in points] == [("noise", "audio"), ("missing", "audio")]
    assert Plan((0.0, 1.0), modalities=("vision",)).points(["text"], ["vision", "text"]) == []


@pytest.mark.parametrize("levels", [(), (0.0,), (0.2, 0.4), (0.0, 0.4, 0.2), (0.0, 0.5, 0.5), (0.0, float("inf")), (-1.0, 0.0)])
def test_levels_ascend_from_0(levels: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected 0 and higher ones, ascending"):
        Plan(levels)


def test_unknown_names_and_single_modalities() -> None:
    with pytest.raises(InputError, match="kinds: 'mising' is none of noise, missing; did you mean 'missing'"):
        Plan(kinds=("mising",))
    with pytest.raises(InputError, match="kinds is empty"):
        Plan(kinds=())
    with pytest.raises(InputError, match="no modality 'visoin'; there are: vision, text; did you mean 'vision'"):
        Plan(modalities=("visoin",)).points(["vision", "text"])
    with pytest.raises(InputError, match="no modality 'sound'"):
        Plan(noise={"sound": "dropout"}).points(["vision", "text"])
    with pytest.raises(InputError, match="reads text alone: without it there is nothing to tell from"):
        Plan(kinds=("noise", "missing")).points(["text"])
    assert {p.kind for p in Plan().points(["text"])} == {"noise"}
