"""The state as numbers: which, in which order, and how they are scaled."""

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import contract_from_dict, load_contract
from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.core.policy.state_vector import (
    normalised_state,
    state_bounds,
    state_fields,
    state_vectors,
)


@pytest.fixture
def contract():
    return load_contract("sim_panda")


def test_what_the_prompt_shows_in_words_stands_in_numbers(contract):
    names = [str(item) for item in state_fields(contract)]
    assert names == [f"{p.stream}.{p.field}" for p in contract.prompt_state]
    values = {
        s.key: np.arange(len(s.names), dtype=np.float32) + 10 * n
        for n, s in enumerate(contract.states)
    }
    found = state_vectors(contract, values)
    assert found.dtype == np.float32 and found.shape == (len(names),)
    for item, value in zip(state_fields(contract), found, strict=True):
        index = contract.stream(item.stream).names.index(item.field)
        assert value == values[item.stream][index]
    many = {key: np.stack([value, value + 1]) for key, value in values.items()}
    np.testing.assert_array_equal(state_vectors(contract, many), [found, found + 1])


def test_where_the_prompt_shows_nothing_all_states_are_read(contract):
    document = contract.to_dict()
    document["prompt"]["state"] = []
    bare = contract_from_dict(document)
    wanted = [(s.key, name) for s in bare.states for name in s.names]
    assert [(item.stream, item.field) for item in state_fields(bare)] == wanted


def test_a_value_that_is_missing_or_not_finite_is_named(contract):
    values = {s.key: np.zeros(len(s.names), np.float32) for s in contract.states}
    first = state_fields(contract)[0]
    index = contract.stream(first.stream).names.index(first.field)
    values[first.stream][index] = np.inf
    with pytest.raises(ValueError, match=f"{first}: found inf, expected a finite number"):
        state_vectors(contract, values)
    del values[first.stream]
    with pytest.raises(KeyError, match=f"{first.stream}: not in the values"):
        state_vectors(contract, values)


def test_quantiles_become_minus_one_and_one_and_far_values_are_clipped(contract):
    stats = {
        s.key: QuantileStats.from_samples(np.linspace(-2, 4, 100)[:, None].repeat(len(s.names), 1))
        for s in contract.states
    }
    low, high = state_bounds(contract, stats)
    count = len(state_fields(contract))
    assert low.shape == high.shape == (count,)
    found = normalised_state(low, high, np.stack([low, high, (low + high) / 2, high + 1e6]))
    np.testing.assert_allclose(found, [[-1] * count, [1] * count, [0] * count, [5] * count])
    assert found.dtype == np.float32
    first = state_fields(contract)[0].stream
    with pytest.raises(ValueError, match=f"state {first}: found none, expected"):
        state_bounds(contract, {})
    with pytest.raises(ValueError, match=f"state {first}: found 1 fields, expected"):
        state_bounds(contract, {first: QuantileStats.from_samples(np.zeros((2, 1)))})
