"""Fitting FAST tokenizers: every coefficient of the range survives, seen or not."""

import numpy as np
import pytest

from roboalign_policy.fast import FastTokenizer, errors
from roboalign_policy.fast.dct import dequantise


def _walks(n: int, horizon: int, dims: int, seed: int = 0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(scale=0.2, size=(n, horizon, dims))
    return np.clip(np.cumsum(steps, axis=1), -1, 1)


@pytest.fixture(scope="module")
def fitted() -> FastTokenizer:
    return FastTokenizer.fit(_walks(300, 8, 7), vocab_size=256)


def test_fit_covers_every_coefficient_of_its_range_seen_or_not(fitted):
    low, high = fitted.coefficient_range
    assert (low, high) == (-43, 43)  # ceil(1.5 * 10 * sqrt(8))
    wanted = np.arange(low, high + 1).reshape(-1, 1, 1)
    seen = np.unique(fitted.quantise(_walks(300, 8, 7)))
    assert len(seen) < wanted.size
    actions = dequantise(wanted, 10.0)
    tokens = fitted.encode(actions)
    assert [len(row) for row in tokens] == [1] * wanted.size
    np.testing.assert_array_equal(np.around(fitted.decode(tokens, horizon=1, dims=1) * 10), wanted)
    assert fitted.token_lengths.min() == 1


def test_fit_covers_the_seen_range_when_it_is_wider():
    chunks = _walks(50, 8, 7)
    chunks[7, :, 2] = -2.5
    tokenizer = FastTokenizer.fit(chunks, vocab_size=256)
    assert tokenizer.coefficient_range == (-71, 71)
    tokenizer.encode(chunks)


def test_fit_takes_chunks_of_several_shapes():
    chunks = [*_walks(40, 8, 7), *_walks(40, 12, 6), *_walks(40, 8, 7, seed=1)]
    tokenizer = FastTokenizer.fit(chunks, vocab_size=300)
    assert tokenizer.coefficient_range[1] == 52  # of the longest horizon
    for chunk in chunks[::13]:
        tokens = tokenizer.encode(chunk[None])
        decoded = tokenizer.decode(tokens, horizon=len(chunk), dims=chunk.shape[1])
        assert np.abs(decoded[0] - chunk).max() < 0.2


def test_fit_is_deterministic_and_compresses():
    chunks = _walks(200, 8, 7)
    first, second = (FastTokenizer.fit(chunks, vocab_size=512) for _ in range(2))
    assert first.hash == second.hash == FastTokenizer.fit(list(chunks), vocab_size=512).hash
    assert first.hash != FastTokenizer.fit(chunks, vocab_size=511).hash
    assert first.vocab_size == 512
    assert np.mean([len(row) for row in first.encode(chunks)]) < 56 / 2


def test_fit_stops_at_what_the_data_repeats():
    tokenizer = FastTokenizer.fit(_walks(2, 4, 2), vocab_size=4096)
    assert 61 <= tokenizer.vocab_size < 200  # -30..30, then pairs seen at least twice


def test_fit_with_a_limit_clips_only_when_told():
    chunks = _walks(50, 8, 7)
    tokenizer = FastTokenizer.fit(chunks, vocab_size=128, coefficient_limit=10)
    assert tokenizer.coefficient_range == (-10, 10)
    with pytest.raises(errors.CoefficientRangeError, match=r"DCT coefficient .*-10\.\.10"):
        tokenizer.encode(chunks)
    tokens = tokenizer.encode(chunks, out_of_range="clip")
    clipped = np.clip(tokenizer.quantise(chunks), -10, 10)
    decoded = tokenizer.decode(tokens, horizon=8, dims=7)
    np.testing.assert_allclose(decoded, dequantise(clipped, 10.0), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"vocab_size": 64}, "need 87 tokens, more than vocab_size 64"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": 2.5}, r"vocab_size is 2\.5"),
        ({"scale": 0}, "scale is 0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"margin": -1}, "margin is -1"),
        ({"coefficient_limit": 0}, "coefficient_limit is 0"),
        ({"min_frequency": True}, "min_frequency is True"),
        # 2 * 28285 + 1 characters would run into the surrogates.
        ({"scale": 10000, "margin": 1, "vocab_size": 10**6}, "need 56571 tokens"),
    ],
)
def test_fit_refuses_bad_options(options, match):
    with pytest.raises(errors.FitError, match=match):
        FastTokenizer.fit(_walks(5, 8, 7), **options)


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([], errors.EmptyInputError),
        (np.zeros((0, 8, 7)), errors.EmptyInputError),
        ([np.zeros((8, 7)), np.zeros(8)], errors.ActionInputError),
        ([np.zeros((8, 7)), np.full((8, 7), np.nan)], errors.NonFiniteActionError),
        ("chunks", errors.FitError),
        (np.zeros((8, 7)), errors.ActionInputError),
    ],
)
def test_fit_refuses_bad_chunks(chunks, error):
    with pytest.raises(error):
        FastTokenizer.fit(chunks)
