"""Quantile normalisation: the formula, its inverse, storing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from roboalign_policy.core.policy.normalise import QuantileStats

X = np.random.default_rng(0).normal([0, 5, -1], [1, 3, 0.1], (5000, 3))


def test_formula():
    """Source: (x - q01) / (q99 - q01 + 1e-6) * 2 - 1, computed here step by step."""
    stats = QuantileStats.from_samples(X)
    q01, q99 = np.quantile(X, 0.01, axis=0), np.quantile(X, 0.99, axis=0)
    np.testing.assert_array_equal([stats.q01, stats.q99], [q01, q99])
    np.testing.assert_allclose(
        stats.normalise(X), (X - q01) / (q99 - q01 + 1e-6) * 2 - 1, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        stats.normalise(np.stack([q01, q99])), [[-1] * 3, [1] * 3], atol=1e-4
    )
    assert stats.normalise(X).min() < -1 and stats.normalise(X).max() > 1, "must not clip"
    np.testing.assert_allclose(stats.mean, X.mean(axis=0))
    np.testing.assert_allclose(stats.std, X.std(axis=0))
    np.testing.assert_array_equal([stats.low, stats.high], [X.min(axis=0), X.max(axis=0)])
    assert stats.count == 5000 and stats.dims == 3


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 30), st.just(2)),
        elements=st.floats(-1e4, 1e4, width=32),
    )
)
def test_denormalise_inverts(x):
    stats = QuantileStats.from_samples(x)
    np.testing.assert_allclose(stats.denormalise(stats.normalise(x)), x, rtol=1e-9, atol=1e-7)


def test_shapes_and_dtypes():
    stats = QuantileStats.from_samples(X)
    chunk = np.zeros((2, 8, 3), np.float32)
    assert stats.normalise(chunk).shape == (2, 8, 3)
    assert stats.normalise(chunk).dtype == stats.denormalise(chunk).dtype == np.float32
    assert stats.normalise(np.zeros(3, np.int64)).dtype == np.float64
    for wrong in (np.zeros((8, 4)), np.float64(1.0)):
        with pytest.raises(ValueError, match=r"expected \(\.\.\., 3\)"):
            stats.normalise(wrong)
        with pytest.raises(ValueError, match=r"expected \(\.\.\., 3\)"):
            stats.denormalise(wrong)


def test_a_dimension_that_never_moves():
    stats = QuantileStats.from_samples(np.full((10, 1), 0.5))
    assert stats.normalise(np.array([0.5])).tolist() == [-1.0]
    assert stats.denormalise(np.array([-1.0])).tolist() == [0.5]


@pytest.mark.parametrize(
    "x", [np.zeros(3), np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((1, 1, 1))]
)
def test_samples_of_another_shape_are_refused(x):
    with pytest.raises(ValueError, match=r"expected \(N, D\)"):
        QuantileStats.from_samples(x)


def test_samples_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"non-finite values in dimensions \[1\]"):
        QuantileStats.from_samples(np.array([[0.0, np.nan], [1.0, np.inf]]))


def test_dict_through_json_is_exact():
    stats = QuantileStats.from_samples(X)
    again = QuantileStats.from_dict(json.loads(json.dumps(stats.to_dict())))
    for name in ("q01", "q99", "mean", "std", "low", "high"):
        np.testing.assert_array_equal(getattr(again, name), getattr(stats, name))
    assert again.count == stats.count


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"q01": None}, "q01"),
        ({"count": 0}, "count: found 0"),
        ({"count": 1.5}, "count: found 1.5"),
        ({"q99": [1.0]}, r"q99: found shape \(1,\), expected \(2,\)"),
        ({"mean": [1.0, float("nan")]}, "mean"),
        ({"std": "wide"}, "std"),
        ({"q01": [9.0, 9.0]}, "q01 above q99"),
    ],
)
def test_dicts_that_are_wrong_are_refused(change, words):
    data = QuantileStats.from_samples(X[:, :2]).to_dict() | change
    with pytest.raises(ValueError, match=words):
        QuantileStats.from_dict(data)


def test_a_dict_of_an_earlier_version_is_read():
    stats = QuantileStats.from_samples(X)
    again = QuantileStats.from_dict(stats.to_dict() | {"sketch": [[0.0] * 3] * 257})
    np.testing.assert_array_equal(again.q99, stats.q99)


def test_a_dict_that_lacks_keys_is_refused():
    with pytest.raises(ValueError, match="found no count, q01"):
        QuantileStats.from_dict({})
