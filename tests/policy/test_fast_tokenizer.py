"""FAST tokenizer: the reference's tokens and values, exact round trips, typed errors."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct
from tokenizers import Tokenizer

from roboalign_policy.fast import FastError, FastTokenizer, errors
from roboalign_policy.fast.dct import dequantise


def _shared(name: str) -> Path:
    for parent in Path(__file__).resolve().parents:
        path = parent / "shared" / "data" / name
        if path.exists():
            return path
    pytest.skip(f"shared/data/{name} is not beside this checkout")


@pytest.fixture(scope="module")
def vectors() -> list[dict]:
    return json.loads(gzip.decompress(_shared("fast_vectors.json.gz").read_bytes()))


def _walks(n: int, horizon: int, dims: int, seed: int = 0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(scale=0.2, size=(n, horizon, dims))
    return np.clip(np.cumsum(steps, axis=1), -1, 1)


@pytest.fixture(scope="module")
def fitted() -> FastTokenizer:
    return FastTokenizer.fit(_walks(300, 8, 7), vocab_size=256)


def _published(folder: Path, chunk: np.ndarray) -> list[int]:
    """The published algorithm for one chunk, straight from the files of the folder."""
    config = json.loads((folder / "processor_config.json").read_text())
    bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))
    values = np.around(dct(chunk, axis=0, norm="ortho") * config["scale"]).flatten()
    text = "".join(chr(int(max(v - config["min_token"], 0))) for v in values)
    return bpe.encode(text).ids


def test_every_reference_vector(universal, vectors):
    assert len(vectors) == 140
    for vector in vectors:
        horizon, dims = vector["shape"]
        actions = np.reshape(vector["actions"], (1, horizon, dims))
        assert universal.encode(actions) == [vector["tokens"]]
        decoded = universal.decode([vector["tokens"]], horizon=horizon, dims=dims)
        np.testing.assert_allclose(decoded.ravel(), vector["decoded"], rtol=0, atol=5e-6)


def test_reference_vectors_in_batches_of_one_shape(universal, vectors):
    shapes = {tuple(v["shape"]) for v in vectors}
    assert len(shapes) == 7
    for horizon, dims in shapes:
        group = [v for v in vectors if tuple(v["shape"]) == (horizon, dims)]
        tokens = universal.encode(np.reshape([v["actions"] for v in group], (-1, horizon, dims)))
        assert tokens == [v["tokens"] for v in group]
        decoded = universal.decode(tokens, horizon=horizon, dims=dims)
        np.testing.assert_allclose(
            decoded.reshape(len(group), -1), [v["decoded"] for v in group], rtol=0, atol=5e-6
        )


def test_properties_of_the_universal_tokenizer(universal):
    assert (universal.vocab_size, universal.scale, universal.min_token) == (2048, 10.0, -354)
    assert universal.token_lengths.shape == (2048,)
    assert int((universal.token_lengths == 0).sum()) == 135
    assert universal.coefficient_range == (-354, 0xD7FF - 354)


def test_token_lengths_are_what_each_token_decodes_to(universal):
    for token, length in enumerate(universal.token_lengths):
        if length:
            assert universal.decode([[token]], horizon=int(length), dims=1).shape == (1, length, 1)
        else:
            with pytest.raises(errors.UndecodableTokensError):
                universal.decode([[token]], horizon=1, dims=1)


@pytest.mark.parametrize("amplitude", [0.05, 1.0, 12.0, 300.0])
@pytest.mark.parametrize("shape", [(1, 7), (16, 7), (50, 14), (3, 1)])
def test_same_ids_as_the_published_algorithm_far_from_the_vectors(universal, shape, amplitude):
    # Large amplitudes leave the letters, so the regular expression of ByteLevel splits the text.
    actions = np.random.default_rng(1).normal(scale=amplitude, size=(12, *shape))
    tokens = universal.encode(actions, out_of_range="clip")
    folder = _shared("fast_universal")
    assert tokens == [_published(folder, chunk) for chunk in actions]


def test_smooth_motion_has_the_published_ids_in_any_batch(universal, fitted, tmp_path):
    fitted.save(tmp_path)
    time = np.linspace(0, 1, 50)[None, :, None]
    phase = np.random.default_rng(2).uniform(0, 6, size=(40, 1, 14))
    smooth = np.sin(3 * time + phase) * (phase > 2)  # some dimensions never move
    folder = _shared("fast_universal")
    assert universal.encode(smooth) == [_published(folder, chunk) for chunk in smooth]
    short = smooth[:, :8, :7]
    assert fitted.encode(short) == [_published(tmp_path, chunk) for chunk in short]
    assert fitted.encode(short) == [fitted.encode(chunk[None])[0] for chunk in short]


def test_shapes_are_not_remembered(universal):
    wide = universal.encode(_walks(1, 50, 14))
    narrow = _walks(1, 16, 7)
    universal.decode(wide, horizon=50, dims=14)
    tokens = universal.encode(narrow)
    assert np.abs(universal.decode(tokens, horizon=16, dims=7) - narrow).max() < 0.25
    with pytest.raises(TypeError):
        universal.decode(tokens)


@settings(max_examples=60)
@given(
    horizon=st.integers(1, 20),
    dims=st.integers(1, 9),
    seed=st.integers(0, 9),
    spread=st.floats(0, 1),
)
def test_round_trip_is_exact_in_coefficients(fitted, horizon, dims, seed, spread):
    actions = np.random.default_rng(seed).uniform(-1, 1, size=(3, horizon, dims)) * spread
    decoded = fitted.decode(
        fitted.encode(actions, out_of_range="clip"), horizon=horizon, dims=dims
    )
    coefficients = np.clip(fitted.quantise(actions), *fitted.coefficient_range)
    np.testing.assert_allclose(decoded, dequantise(coefficients, 10.0), rtol=0, atol=1e-12)


def test_quantisation_error_is_bounded(fitted):
    actions = _walks(50, 8, 7, seed=3)
    decoded = fitted.decode(fitted.encode(actions), horizon=8, dims=7)
    # Parseval: each coefficient is off by at most 0.5 / scale.
    assert np.linalg.norm(decoded - actions, axis=1).max() <= 0.05 * np.sqrt(8) + 1e-9


def _with(value: float) -> np.ndarray:
    actions = np.zeros((3, 8, 7))
    actions[1, 5, 6] = value
    return actions


@pytest.mark.parametrize(
    ("actions", "error", "match"),
    [
        (_with(np.nan), errors.NonFiniteActionError, r"chunk 1: actions hold nan at \(5, 6\)"),
        (_with(-np.inf), errors.NonFiniteActionError, "chunk 1: actions hold -inf"),
        (_with(1e6), errors.CoefficientRangeError, "chunk 1: DCT coefficient"),
        (_with(-1e6), errors.CoefficientRangeError, "chunk 1: DCT coefficient"),
        (np.full((1, 8, 7), 1e308), errors.CoefficientRangeError, "chunk 0: DCT coefficient"),
        (np.zeros((8, 7)), errors.ActionInputError, r"expected 3 axes \(N, T, D\); one chunk is"),
        (np.zeros((1, 1, 8, 7)), errors.ActionInputError, r"shape \(1, 1, 8, 7\)"),
        (np.float64(1), errors.ActionInputError, r"shape \(\)"),
        (np.zeros((1, 8, 7), complex), errors.ActionInputError, "dtype complex128"),
        (np.zeros((1, 8, 7), bool), errors.ActionInputError, "dtype bool"),
        (np.full((1, 8, 7), None), errors.ActionInputError, "dtype object"),
        (np.full((1, 8, 7), "0"), errors.ActionInputError, "dtype <U1"),
        ([[[0.0, 1.0], [0.0]]], errors.ActionInputError, "do not form an array"),
        (None, errors.ActionInputError, "dtype object"),
        (np.zeros((0, 8, 7)), errors.EmptyInputError, r"shape \(0, 8, 7\)"),
        (np.zeros((1, 0, 7)), errors.EmptyInputError, "nothing to encode"),
        ([], errors.ActionInputError, r"shape \(0,\)"),
    ],
)
def test_encode_refuses(fitted, universal, actions, error, match):
    for tokenizer in (fitted, universal):
        with pytest.raises(error, match=match) as caught:
            tokenizer.encode(actions)
        assert isinstance(caught.value, FastError)
        assert isinstance(caught.value, ValueError)


def test_encode_refuses_surrogates_and_takes_the_last_character_before_them(universal):
    last = dequantise(np.full((1, 1, 1), 0xD7FF - 354), 10.0)
    assert np.allclose(universal.decode(universal.encode(last), horizon=1, dims=1), last)
    with pytest.raises(errors.CoefficientRangeError, match="chunk 0: DCT coefficient 54942"):
        universal.encode(dequantise(np.full((1, 1, 1), 0xD800 - 354), 10.0))
    with pytest.raises(ValueError, match="out_of_range is 'ignore'"):
        universal.encode(last, out_of_range="ignore")


def test_encode_takes_lists_and_every_real_dtype(fitted):
    actions = np.ones((2, 8, 7))
    expected = fitted.encode(actions)
    for dtype in (np.float16, np.float32, np.int8, np.uint64, ">f8"):
        assert fitted.encode(actions.astype(dtype)) == expected
    assert fitted.encode(actions.tolist()) == expected


@pytest.mark.parametrize(
    ("tokens", "error", "match"),
    [
        ([1, 2, 3], errors.TokenLayoutError, r"one flat list of ids.*\[tokens\]"),
        (np.arange(5), errors.TokenLayoutError, r"shape \(5,\)"),
        (np.zeros((1, 5)), errors.TokenLayoutError, "float64"),
        ("abc", errors.TokenLayoutError, "a str"),
        (7, errors.TokenLayoutError, "a int"),
        (["abc"], errors.TokenLayoutError, "chunk 0: a str"),
        ([[1, 2], 3], errors.TokenLayoutError, "flat list"),
        ([[1.0, 2.0]], errors.TokenLayoutError, "dtype float64"),
        ([[True]], errors.TokenLayoutError, "dtype bool"),
        ([[[1]]], errors.TokenLayoutError, r"shape \(1, 1\)"),
        ([[[1], [2, 3]]], errors.TokenLayoutError, "do not form one list"),
        ([], errors.EmptyInputError, "no token sequence"),
        ([[1] * 56, []], errors.EmptyInputError, "chunk 1: no tokens"),
        ([[1] * 56, [1, -1]], errors.UnknownTokenError, "chunk 1: token -1 is unknown"),
        ([[1], [9999999]], errors.UnknownTokenError, "chunk 1: token 9999999"),
        ([[10**30]], errors.UnknownTokenError, "chunk 0: .*64 bits"),
        ([[2**63]], errors.UnknownTokenError, "chunk 0: token 9223372036854775808"),
        ([[1] * 56, [1] * 55], errors.CoefficientCountError, "chunk 1: 55 .* = 56: 1 too few"),
        ([[1] * 58], errors.CoefficientCountError, "chunk 0: 58 .* = 56: 2 too many"),
    ],
)
def test_decode_refuses(fitted, universal, tokens, error, match):
    for tokenizer in (fitted, universal):
        with pytest.raises(error, match=match):
            tokenizer.decode(tokens, horizon=8, dims=7)


@pytest.mark.parametrize("name", ["horizon", "dims"])
@pytest.mark.parametrize("value", [0, -1, 1.5, None, True])
def test_decode_refuses_bad_sizes(fitted, name, value):
    with pytest.raises(errors.ActionInputError, match=name):
        fitted.decode([[1]], **{"horizon": 8, "dims": 7, name: value})


def test_dangling_bytes_are_an_error_and_joined_ones_are_not(universal):
    lead, rest = (
        universal._vocabulary.spellings.index(bytes([byte])) for byte in chr(354).encode()
    )
    assert universal.decode([[lead, rest]], horizon=1, dims=1).tolist() == [[[0.0]]]
    good = universal.encode(np.zeros((1, 1, 1)))[0]
    for tokens in ([lead], [rest], [rest, lead], [*good, lead], [lead, *good], [lead, lead, rest]):
        with pytest.raises(errors.UndecodableTokensError, match="chunk 1: .*parts of characters"):
            universal.decode([good, tokens], horizon=1, dims=1)


def test_bytes_of_a_character_beyond_the_range_are_an_error(universal):
    spell = universal._vocabulary.spellings.index
    for character in ("\ufffd", "\U0001f600"):
        ids = [spell(bytes([byte])) for byte in character.encode()]
        with pytest.raises(errors.UndecodableTokensError):
            universal.decode([ids], horizon=1, dims=1)


@settings(max_examples=200)
@given(tokens=st.lists(st.lists(st.integers(0, 2047), min_size=1, max_size=12), min_size=1))
def test_any_ids_decode_to_finite_values_or_a_fast_error(universal, tokens):
    lengths = [int(universal.token_lengths[row].sum()) for row in tokens]
    try:
        values = universal.decode(tokens, horizon=max(lengths[0], 1), dims=1)
    except FastError:
        return
    assert values.shape == (len(tokens), max(lengths[0], 1), 1)
    assert np.isfinite(values).all()
    # What decoded is what a whole sequence of coefficients says: it survives a round trip.
    again = universal.decode(universal.encode(values), horizon=values.shape[1], dims=1)
    np.testing.assert_allclose(again, values, atol=1e-9)


def test_count_error_carries_the_numbers(fitted):
    with pytest.raises(errors.CoefficientCountError) as caught:
        fitted.decode([[1] * 56, [1] * 50], horizon=8, dims=7)
    assert (caught.value.chunk, caught.value.expected, caught.value.found) == (1, 56, 50)
