"""The merges done ahead by numpy: the ids of the BPE library, for every kind of vocabulary."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from roboalign_policy.fast import FastTokenizer, bpe
from roboalign_policy.fast.reduction import Reduction
from roboalign_policy.fast.vocabulary import byte_characters

ZERO = 354


@pytest.fixture(scope="module")
def universal() -> FastTokenizer:
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data" / "fast_universal").exists():
            return FastTokenizer.load(parent / "shared" / "data" / "fast_universal")
    pytest.skip("shared/data/fast_universal is not beside this checkout")


def _codes(rng, rows: int, width: int, zeros: float, spread: float, centre: int) -> np.ndarray:
    values = np.rint(rng.normal(scale=spread, size=(rows, width))).astype(np.int64)
    return centre + np.where(rng.random((rows, width)) < zeros, 0, values)


def _plain(tokenizer: FastTokenizer, codes: np.ndarray) -> list[list[int]]:
    """The library on the unchanged file."""
    return [tokenizer._bpe._full.encode("".join(map(chr, row))).ids for row in codes]


draws = {
    "width": st.integers(1, 300),
    "zeros": st.floats(0, 1),
    "spread": st.sampled_from([0.5, 2.0, 10.0, 40.0]),
    "seed": st.integers(0, 2**32 - 1),
}


@settings(max_examples=60)
@given(**draws)
def test_universal_ids_are_those_of_the_library(universal, width, zeros, spread, seed):
    assert universal._bpe._reduction is not None
    rows = bpe._WORTH_REDUCING // width + 1
    codes = _codes(np.random.default_rng(seed), rows, width, zeros, spread, ZERO)
    codes = np.clip(codes, 250, 0x24F)  # letters only, so that the reduction is what runs
    assert universal._bpe.encode(codes) == _plain(universal, codes)


@pytest.fixture(scope="module")
def fitted() -> FastTokenizer:
    steps = np.random.default_rng(0).normal(scale=0.1, size=(400, 8, 7))
    steps[:, :, 4:] = 0  # dimensions that never move make long runs
    return FastTokenizer.fit(np.clip(np.cumsum(steps, axis=1), -1, 1), vocab_size=400)


@settings(max_examples=60)
@given(**draws)
def test_fitted_ids_are_those_of_the_library(fitted, width, zeros, spread, seed):
    assert fitted._bpe._reduction is not None
    rows = bpe._WORTH_REDUCING // width + 1
    codes = _codes(np.random.default_rng(seed), rows, width, zeros, spread, -fitted.min_token)
    codes = np.clip(codes, 0, -2 * fitted.min_token)
    assert fitted._bpe.encode(codes) == _plain(fitted, codes)


def test_a_run_as_long_as_the_row_and_none_at_all(universal):
    codes = np.full((20, 700), ZERO)
    codes[1] = ZERO + 3
    codes[2, ::2] = ZERO - 3
    codes[3, :699] = ZERO + 9
    codes[4, 1:] = ZERO - 9
    for row, run in enumerate(range(60, 75)):
        codes[5 + row, run] = ZERO + 1
    assert universal._bpe.encode(codes) == _plain(universal, codes)


@pytest.fixture(scope="module", params=[0, 1, 2, 3])
def reference_style(request) -> FastTokenizer:
    """ByteLevel BPEs as the reference trains them, of different data and so other merges."""
    rng = np.random.default_rng(request.param)
    zeros = (0.9, 0.7, 0.4, 0.1)[request.param]
    codes = _codes(rng, 400, 64, zeros, 1.0 + 3 * request.param, ZERO)
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=500,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=list(byte_characters()),
    )
    tokenizer.train_from_iterator(["".join(map(chr, row)) for row in codes], trainer=trainer)
    return FastTokenizer(json.loads(tokenizer.to_str()), 10, -ZERO)


@settings(max_examples=30)
@given(**draws)
def test_reference_style_ids_are_those_of_the_library(reference_style, width, zeros, spread, seed):
    rows = bpe._WORTH_REDUCING // width + 1
    codes = _codes(np.random.default_rng(seed), rows, width, zeros, spread, ZERO)
    codes = np.clip(codes, 250, 0x24F)
    assert reference_style._bpe.encode(codes) == _plain(reference_style, codes)


A, Z = byte_characters()[0xC5], byte_characters()[0xA2]  # the two bytes of character 354
B, L = byte_characters()[0xA3], byte_characters()[0xC6]


def _model(*merges: tuple[str, str]) -> dict:
    tokens = [*byte_characters(), *dict.fromkeys(a + b for a, b in merges)]
    return {"vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(m) for m in merges]}


RUN = [(A, Z), (A + Z, A + Z)]


@pytest.mark.parametrize(
    "merges",
    [
        RUN,
        [*RUN, (A, B)],
        [*RUN, (A + Z, A), (A + Z + A, B)],
        [*RUN, (A, B), (A + B, A + Z)],
        [*RUN, (A + Z, A), (A + Z + A + Z, A + Z + A), ((A + Z) * 3 + A, B)],
    ],
)
def test_provable_vocabularies_are_taken(merges):
    assert Reduction.prove(_model(*merges), "bytes") is not None


@pytest.mark.parametrize(
    "merges",
    [
        [],
        [(A, Z)],  # no power to use
        [("!", "!"), ("!!", "!!")],  # the run is not of a two-byte character
        [*RUN, (A + Z, A), (A + Z, L)],  # a second lead byte is wanted by the run
        [*RUN, (A, B), (A + Z, A)],  # a lead byte is taken after other merges
        [*RUN, (B, A)],  # a trailing byte joins what follows
        [*RUN, (A, B), (A + B, A)],  # another character takes lead bytes
        [*RUN, (A + Z, A), (A, B), (A + Z + A, A + B)],  # not what UTF-8 can hold
        [*RUN, (A + Z, A), (A + Z + A, B), (A, B), (A + Z, A + B)],  # two ways to one token
    ],
)
def test_other_vocabularies_are_left_to_the_library(merges):
    assert Reduction.prove(_model(*merges), "bytes") is None
