"""How features depend: against scikit-learn, closed forms, and data whose answer is known."""

import numpy as np
import pytest
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score

from qmm.discrete import redundancy, relevance, synergy
from qmm.discrete.dependence import bin_codes, mutual_information
from qmm.errors import InputError

LN2 = np.log(2)


def correlated(n: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 1))
    return np.concatenate([shared + 0.5 * rng.normal(size=(n, 3)), rng.normal(size=(n, 2))], axis=1)


def test_plain_estimates_are_those_of_scikit_learn() -> None:
    codes = bin_codes(correlated(), 6)
    expected = [[mutual_info_score(a, b) for b in codes.T] for a in codes.T]
    np.testing.assert_allclose(mutual_information(codes, codes, corrected=False), expected, atol=1e-12)
    features, classes = correlated(), (correlated()[:, 0] > 0).astype(int)
    own = bin_codes(features, 8)
    found = relevance(features, classes, bins=8, corrected=False)
    np.testing.assert_allclose(found, [mutual_info_score(column, classes) for column in own.T], atol=1e-12)


def test_tables_of_many_features_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = redundancy(correlated())
    monkeypatch.setattr("qmm.discrete.dependence._CELLS", 1)
    np.testing.assert_array_equal(redundancy(correlated()), whole)


def test_the_correction_takes_the_bias_away() -> None:
    """Of independent features, the plain estimate is (bins - 1)² / 2N too large; four standard errors over 400 pairs."""
    rng = np.random.default_rng(1)
    first, second = (bin_codes(rng.normal(size=(300, 20)), 5) for _ in range(2))
    for corrected, expected in ((False, 16 / 600), (True, 0.0)):
        found = mutual_information(first, second, corrected)
        assert found.mean() == pytest.approx(expected, abs=4 * found.std() / 20 + 0.05 * 16 / 600)


def test_nothing_monotone_changes_bins_and_ties_stay_together() -> None:
    features = correlated()
    np.testing.assert_array_equal(redundancy(features), redundancy(np.exp(features)))
    spike = np.array([0.0] * 90 + [1.0] * 10)[:, None]
    codes = bin_codes(spike, 8)[:, 0]
    assert len(set(codes[:90])) == len(set(codes[90:])) == 1
    assert codes[0] != codes[-1]


def test_neighbours_are_scikit_learns() -> None:
    features, classes = correlated(), correlated()[:, 1] > 0
    expected = mutual_info_classif(features, classes, random_state=3)
    np.testing.assert_array_equal(relevance(features, classes, method="neighbours", seed=3), expected)
    values = relevance(features, correlated()[:, 1], method="neighbours")
    assert values[1] > 1.0 > values[4]


def test_classes_may_be_words_and_targets_numbers() -> None:
    features = correlated()
    numbers = (features[:, 0] > 0).astype(int)
    words = np.where(numbers == 1, "up", "down")
    np.testing.assert_array_equal(relevance(features, numbers), relevance(features, words))
    assert relevance(features, features[:, 0])[0] == pytest.approx(np.log(8), abs=0.1)  # eight bins tell each other


def test_correlation_is_numpys_and_constants_have_none() -> None:
    features = correlated()
    expected = np.abs(np.corrcoef(features.T)) - np.eye(5)
    np.testing.assert_allclose(redundancy(features, method="correlation"), expected, atol=1e-12)
    features[:, 2] = 0.1  # whose mean is not exactly 0.1
    found = redundancy(features, method="correlation")
    assert not found[2].any()
    assert np.isfinite(found).all()


def test_synergy_of_an_exclusive_or_and_of_copies() -> None:
    rng = np.random.default_rng(0)
    coins = rng.integers(0, 2, size=(4000, 3))
    angles = {"vision": coins[:, [0, 2]].astype(float), "audio": coins[:, [1, 2]].astype(float)}
    either = synergy(angles, coins[:, 0] ^ coins[:, 1])
    assert either.names == ("vision0", "vision1", "audio0", "audio1")
    assert either.registers == ("vision", "vision", "audio", "audio")
    assert either.benefit[0, 2] == pytest.approx(LN2, abs=0.002)
    rest = either.benefit.copy()
    rest[[0, 2], [2, 0]] = 0
    assert np.abs(rest).max() < 0.005  # a copy says nothing of it, and within a register nothing counts
    copies = synergy(angles, coins[:, 2])
    assert copies.benefit[1, 3] == pytest.approx(-LN2, abs=0.002)
    np.testing.assert_array_equal(copies.benefit, copies.benefit.T)


def test_synergy_is_that_of_mutual_informations_of_pairs() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 500, 1))
    target = (a[:, 0] * b[:, 0] + 0.5 * rng.normal(size=500) > 0).astype(int)
    codes = bin_codes(np.concatenate([a, b], axis=1), 3)
    pair = codes[:, 0] * 3 + codes[:, 1]
    expected = mutual_info_score(pair, target) - sum(mutual_info_score(column, target) for column in codes.T)
    found = synergy({"a": a, "b": b}, target, corrected=False).benefit
    assert found[0, 1] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        (np.ones(3), np.ones(3), r"shape \(3,\)"),
        (np.ones((1, 3)), np.ones(1), "at least two samples"),
        (np.array([["a"], ["b"]]), [0, 1], "expected real numbers"),
        (np.array([[1.0, np.nan], [1.0, 2.0]]), [0, 1], "column 1"),
        (np.eye(3), [0, 1], r"targets of shape \(2,\) for 3 samples"),
        (np.eye(2), [0.0, np.inf], "targets hold NaN"),
        (np.eye(2), [1, 1], "never varies"),
    ],
)
def test_bad_samples_are_refused(features: np.ndarray, targets: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        relevance(features, targets)


def test_names_that_there_are_not() -> None:
    with pytest.raises(InputError, match='"bins" or "neighbours"'):
        relevance(np.eye(3), [0, 1, 1], method="trees")
    with pytest.raises(InputError, match='"bins" or "correlation"'):
        redundancy(np.eye(3), method="trees")
    with pytest.raises(InputError, match="bins=1"):
        redundancy(np.eye(3), bins=1)
    with pytest.raises(InputError, match="different numbers of samples"):
        synergy({"a": np.eye(3), "b": np.eye(2)}, [0, 1, 1])
    with pytest.raises(InputError, match="no modality"):
        synergy({}, [0, 1])
