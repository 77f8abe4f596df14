"""The compiled BPE of the FAST tokenizer: the library's ids for every kind of vocabulary."""

import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from roboalign_policy.fast import FastTokenizer, bpe, errors, ranks
from roboalign_policy.fast import tokenizer as tokenizer_module
from roboalign_policy.fast.dct import quantise
from roboalign_policy.fast.vocabulary import MAX_CODE, byte_characters

ZERO = 354
ALL = np.ones(MAX_CODE + 1, dtype=bool)


@pytest.fixture(scope="module")
def fitted() -> FastTokenizer:
    steps = np.random.default_rng(0).normal(scale=0.1, size=(400, 8, 7))
    steps[:, :, 4:] = 0  # dimensions that never move make long runs
    return FastTokenizer.fit(np.clip(np.cumsum(steps, axis=1), -1, 1), vocab_size=400)


def _plain(tokenizer: FastTokenizer, codes: np.ndarray) -> list[list[int]]:
    """The library on the unchanged file."""
    library = Tokenizer.from_str(json.dumps(tokenizer._model))
    return [library.encode("".join(map(chr, row))).ids for row in codes]


def _compiled(tokenizer: FastTokenizer, codes: np.ndarray) -> list[list[int]]:
    """The ids of the compiled loop, also of a batch that would not load it by itself."""
    assert tokenizer._bpe._ranks is not None
    return tokenizer._bpe.encode(codes)


def _only_the_loop(monkeypatch) -> None:
    """Makes every use of the library fail, so that what passes is the loop's work."""
    monkeypatch.setattr(bpe.BatchBpe, "_library", lambda *_: pytest.fail("the library was asked"))


def _codes(rng, rows: int, width: int, zeros: float, spread: float, centre: int) -> np.ndarray:
    values = np.rint(rng.normal(scale=spread, size=(rows, width))).astype(np.int64)
    return centre + np.where(rng.random((rows, width)) < zeros, 0, values)


def _trained(codes: np.ndarray, layout: str, size: int, regex: bool = True) -> FastTokenizer:
    """A BPE of the library's own trainer on rows of codes."""
    tokenizer = Tokenizer(BPE())
    alphabet = sorted({chr(code) for code in codes.ravel().tolist()})
    tokenizer.decoder = decoders.Fuse()
    if layout == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
        tokenizer.decoder, alphabet = decoders.ByteLevel(), list(byte_characters())
    trainer = BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=alphabet,
    )
    tokenizer.train_from_iterator(["".join(map(chr, row)) for row in codes], trainer=trainer)
    return FastTokenizer(json.loads(tokenizer.to_str()), 10, -int(codes.min()))


draws = {
    "width": st.integers(1, 300),
    "zeros": st.floats(0, 1),
    "spread": st.sampled_from([0.5, 2.0, 10.0, 40.0]),
    "seed": st.integers(0, 2**32 - 1),
}


@settings(max_examples=60)
@given(**draws)
def test_universal_ids_are_those_of_the_library(universal, width, zeros, spread, seed):
    codes = _codes(np.random.default_rng(seed), 6, width, zeros, spread, ZERO)
    assert _compiled(universal, np.abs(codes)) == _plain(universal, np.abs(codes))


@settings(max_examples=60)
@given(**draws)
def test_fitted_ids_are_those_of_the_library(fitted, width, zeros, spread, seed):
    codes = _codes(np.random.default_rng(seed), 6, width, zeros, spread, -fitted.min_token)
    codes = np.clip(codes, 0, -2 * fitted.min_token)
    assert _compiled(fitted, codes) == _plain(fitted, codes)


@settings(max_examples=120, deadline=None)
@given(
    layout=st.sampled_from(["characters", "bytes"]),
    letters=st.integers(1, 12),
    size=st.integers(1, 400),
    zeros=st.floats(0, 1),
    width=st.integers(1, 70),
    paired=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_trained_vocabulary_gives_the_ids_of_the_library(
    layout, letters, size, zeros, width, paired, seed
):
    # Few letters make ties: "aaa" holds the pair "aa" twice and only one of them is merged.
    rng = np.random.default_rng(seed)
    alphabet = rng.choice(np.arange(0xC0, 0x180), size=letters, replace=False)
    alphabet = alphabet[(alphabet != 0xD7) & (alphabet != 0xF7)]  # no letters
    alphabet = np.append(alphabet, ZERO)

    def rows(count: int) -> np.ndarray:
        chosen = rng.choice(alphabet, size=(count, width))
        return np.where(rng.random((count, width)) < zeros, ZERO, chosen)

    learned = rows(30)
    learned[0, : min(width, len(alphabet))] = alphabet[:width]
    tokenizer = _trained(learned, layout, size + 256 * (layout == "bytes"))
    known = np.unique(learned)
    fresh = rows(20)
    fresh[~np.isin(fresh, known)] = known[0]
    with pytest.MonkeyPatch.context() as patch:
        plain = _plain(tokenizer, fresh)
        _only_the_loop(patch)
        if not paired:  # as a vocabulary that is too large for a table of pairs
            patch.setattr(ranks, "_MOST_PAIRED", 0)
        assert _compiled(tokenizer, fresh) == plain
        assert (len(tokenizer._bpe._ranks.arrays[5]) > 0) == paired


def test_runs_of_one_symbol_that_make_many_tokens(universal, fitted, monkeypatch):
    for tokenizer, zero in ((universal, ZERO), (fitted, -fitted.min_token)):
        codes = np.full((80, 700), zero)
        codes[1] = zero + 3
        codes[2, ::2] = zero - 3
        codes[3, :699] = zero + 9
        for row, place in enumerate(range(60, 136)):
            codes[4 + row, place] = zero + 1
            codes[4 + row, 200 + 3 * row] = zero - 1
        plain = _plain(tokenizer, codes)
        with monkeypatch.context() as patch:
            _only_the_loop(patch)
            assert _compiled(tokenizer, codes) == plain


@pytest.mark.parametrize("regex", [True, False])
def test_every_character_of_both_ends_of_utf8(regex, monkeypatch):
    rng = np.random.default_rng(3)
    tokenizer = _trained(_codes(rng, 100, 40, 0.5, 300, 2000), "bytes", 700, regex)
    edges = [0, 1, 0x20, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, MAX_CODE - 1, MAX_CODE]
    codes = rng.choice(edges, size=(50, 30))
    plain = _plain(tokenizer, codes)
    if not regex:  # nothing splits the text, so all of it is the loop's
        _only_the_loop(monkeypatch)
    assert _compiled(tokenizer, codes) == plain


def test_only_the_chunks_that_the_pattern_could_split_go_to_the_library(universal, monkeypatch):
    codes = _codes(np.random.default_rng(4), 30, 50, 0.5, 4, ZERO)
    codes[[3, 17], [0, 49]] = (0x30, 0x3042)
    plain, asked, library = _plain(universal, codes), [], universal._bpe._library
    monkeypatch.setattr(
        universal._bpe, "_library", lambda rows: asked.append(len(rows)) or library(rows)
    )
    assert _compiled(universal, codes) == plain
    assert asked == [2]


def test_a_symbol_that_the_vocabulary_lacks_is_refused_as_before(fitted):
    beyond = np.zeros((40, 8, 7))
    beyond[33, 0, 2] = 1000
    with pytest.raises(errors.CoefficientRangeError, match="chunk 33: DCT coefficient"):
        fitted.encode(beyond)
    clipped = fitted.encode(beyond, out_of_range="clip")
    codes = np.clip(fitted.quantise(beyond), *fitted.coefficient_range) - fitted.min_token
    assert clipped == _plain(fitted, codes.reshape(40, -1))


def _model(*merges: tuple[str, str], singles: str = "abcd") -> dict:
    tokens = [*singles, *dict.fromkeys(a + b for a, b in merges)]
    vocab = {token: number for number, token in enumerate(tokens)}
    body = {"type": "BPE", "vocab": vocab, "merges": [list(merge) for merge in merges]}
    return {"model": body, "pre_tokenizer": None, "decoder": {"type": "Fuse"}}


TWICE = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc"), ("abc", "d")]
EARLY = [("ab", "c"), ("a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    "merges",
    [
        [],
        [("a", "b")],
        [("a", "a"), ("aa", "a")],
        [("a", "a"), ("aa", "aa"), ("aaaa", "b"), ("aa", "b")],
        [("b", "a"), ("a", "b"), ("ba", "ba"), ("ab", "ab"), ("ab", "a")],
        [("a", "a"), ("aa", "a"), ("aaa", "aa"), ("aaaaa", "aaa")],
        TWICE,
        EARLY,
    ],
)
def test_made_up_vocabularies_give_the_ids_of_the_library(merges):
    model = _model(*merges)
    tokenizer = FastTokenizer(model, 10, -ord("a"))
    proved = ranks.Ranks.prove(model["model"], "characters", ALL)
    assert (proved is None) == (merges in (TWICE, EARLY))
    codes = np.random.default_rng(5).integers(ord("a"), ord("e"), size=(400, 17))
    codes[200:] = np.where(codes[200:] == ord("d"), codes[200:], ord("a"))
    assert tokenizer._bpe.encode(codes) == _plain(tokenizer, codes)


def test_the_fall_back_is_needed():
    # In the order of the merges alone the text would be split otherwise than BPE does it.
    codes = np.array([[ord(letter) for letter in "abcd"]])
    assert _plain(FastTokenizer(_model(*EARLY), 10, -ord("a")), codes) == [[4, 3]]


def test_too_many_tokens_for_the_tables_are_left_to_the_library(monkeypatch):
    assert ranks.Ranks.prove(_model(("a", "b"))["model"], "characters", ALL) is not None
    monkeypatch.setattr(ranks, "_MOST_TOKENS", 4)
    assert ranks.Ranks.prove(_model(("a", "b"))["model"], "characters", ALL) is None


def _motion(count: int, horizon: int, dims: int) -> np.ndarray:
    steps = np.random.default_rng(6).normal(scale=0.1, size=(count, horizon, dims))
    return np.clip(np.cumsum(steps, axis=1), -1, 1)


def test_a_batch_of_blocks_and_threads_equals_its_chunks(fitted, universal, monkeypatch):
    actions = _motion(301, 8, 7)
    for tokenizer in (fitted, universal):
        whole = tokenizer.encode(actions, out_of_range="clip")
        single = [tokenizer.encode(a[None], out_of_range="clip")[0] for a in actions]
        monkeypatch.setattr(tokenizer_module, "_BLOCK", 1000)
        monkeypatch.setattr(tokenizer_module, "_WORTH_SHARING", 1)
        monkeypatch.setattr(tokenizer_module, "cores", lambda: 3)
        blocks = tokenizer.encode(actions, out_of_range="clip")
        monkeypatch.undo()
        assert whole == single == blocks
        assert whole == _plain(
            tokenizer,
            (np.clip(tokenizer.quantise(actions), *tokenizer.coefficient_range)).reshape(301, -1)
            - tokenizer.min_token,
        )


def test_the_first_chunk_that_fails_is_named_whatever_the_block(fitted, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "_BLOCK", 500)
    actions = np.zeros((100, 8, 7))
    actions[[41, 90], 2, 3] = 1e5
    for _ in range(20):
        with pytest.raises(errors.CoefficientRangeError, match="chunk 41: ") as caught:
            fitted.encode(actions)
        assert caught.value.chunk == 41


def test_no_chunks_are_refused(fitted):
    with pytest.raises(errors.EmptyInputError):
        fitted.encode(np.zeros((0, 8, 7)))


def test_threads_at_the_same_time_from_the_very_first_call(fitted):
    actions = _motion(500, 8, 7)
    expected = fitted.encode(actions, out_of_range="clip")
    for _ in range(3):
        fresh = FastTokenizer(fitted._model, fitted.scale, fitted.min_token)
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(fresh.encode, actions, out_of_range="clip") for _ in range(24)]
            assert all(call.result() == expected for call in calls)


def _encode(tokenizer: FastTokenizer, actions: np.ndarray) -> list[list[int]]:
    return tokenizer.encode(actions, out_of_range="clip")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_encodes_as_its_parent(fitted):
    # Large enough for threads, which exist in the parent and not in the fork.
    actions = _motion(3000, 8, 7)
    expected = _encode(fitted, actions)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = [pool.apply_async(_encode, (fitted, actions)) for _ in range(2)]
        assert all(result.get(timeout=60) == expected for result in results)


def test_numba_is_loaded_by_a_batch_and_not_before(fitted, tmp_path):
    fitted.save(tmp_path)
    script = f"""
import sys
import numpy as np
from roboalign_policy.fast import FastTokenizer
tokenizer = FastTokenizer.load({str(tmp_path)!r})
few = np.zeros((2, 8, 7))
tokens = tokenizer.encode(few)
tokenizer.decode(tokens, horizon=8, dims=7)
assert "numba" not in sys.modules, "loaded too early"
assert tokenizer.encode(np.zeros((64, 8, 7)))[:2] == tokens
assert "numba" in sys.modules, "never loaded"
assert tokenizer.encode(few) == tokens
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@settings(max_examples=100)
@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.integers(-40, 40).map(lambda i: i / 20), min_size=1),
    scale=st.sampled_from([1.0, 10.0, 7.3]),
)
def test_codes_are_the_quantised_coefficients_to_the_bit(fitted, values, scale):
    # With T = 1 a coefficient is the value itself, so halves between two integers do come up.
    assert fitted._bpe._ranks is not None
    actions = np.array(values)[None, None]
    expected = quantise(actions, scale)
    for limits in ((-(10**8), 10**8), (-30, 30)):
        codes = fitted._bpe.codes(actions, scale, -5, limits)
        inside = limits[0] <= expected.min() and expected.max() <= limits[1]
        assert (codes is not None) == inside
        assert codes is None or (codes == expected + 5).all()
