"""FAST tokenizer folders: what is saved loads, here and as the reference does; damage is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from roboalign_policy.fast import FastTokenizer
from roboalign_policy.fast.errors import CoefficientRangeError, FastFormatError


@pytest.fixture(scope="module")
def chunks() -> np.ndarray:
    steps = np.random.default_rng(0).normal(scale=0.2, size=(120, 8, 7))
    return np.clip(np.cumsum(steps, axis=1), -1, 1)


@pytest.fixture
def folder(chunks, tmp_path) -> Path:
    FastTokenizer.fit(chunks, vocab_size=200).save(tmp_path / "fast")
    return tmp_path / "fast"


def test_save_and_load_keep_everything(chunks, folder, tmp_path):
    loaded = FastTokenizer.load(folder)
    fresh = FastTokenizer.fit(chunks, vocab_size=200)
    assert loaded.hash == fresh.hash
    assert loaded.encode(chunks) == fresh.encode(chunks)
    loaded.save(str(tmp_path / "again"))
    for path in folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_folder_has_the_files_and_keys_of_the_reference(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "tokenizer.json",
        "processor_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    config = json.loads((folder / "processor_config.json").read_text())
    assert (config["scale"], config["min_token"], config["vocab_size"]) == (10, -43, 200)
    assert config["time_horizon"] is None
    assert config["action_dim"] is None


def test_the_reference_decoding_reads_the_folder(chunks, folder):
    """Text of the plain BPE, characters minus min_token: what the reference does."""
    bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = FastTokenizer.load(folder)
    for tokens, expected in zip(tokenizer.encode(chunks), tokenizer.quantise(chunks), strict=True):
        text = bpe.decode(tokens)
        assert [ord(c) + tokenizer.min_token for c in text] == expected.ravel().tolist()


def test_transformers_reads_the_folder(chunks, folder):
    transformers = pytest.importorskip("transformers")
    reference = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer = FastTokenizer.load(folder)
    texts = [
        "".join(chr(v - tokenizer.min_token) for v in row.ravel())
        for row in tokenizer.quantise(chunks)
    ]
    tokens = tokenizer.encode(chunks)
    assert reference(texts)["input_ids"] == tokens
    assert [reference.decode(row) for row in tokens] == texts


def _edit(folder: Path, name: str, change) -> None:
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("processor_config.json", lambda d: d.pop("scale"), "scale: found None"),
        ("processor_config.json", lambda d: d.update(scale="10"), "scale: found '10'"),
        ("processor_config.json", lambda d: d.update(scale=-1), "scale: found -1"),
        ("processor_config.json", lambda d: d.update(scale=True), "scale: found True"),
        ("processor_config.json", lambda d: d.update(min_token=0.5), r"min_token: found 0\.5"),
        ("processor_config.json", lambda d: d.update(vocab_size=100), "vocab_size: found 100"),
        ("tokenizer.json", lambda d: d.pop("model"), r"model\.vocab: missing"),
        ("tokenizer.json", lambda d: d["model"].update(type="Unigram"), "expected a BPE"),
        ("tokenizer.json", lambda d: d["model"].update(dropout=0.1), r"dropout: found 0\.1"),
        ("tokenizer.json", lambda d: d["model"].update(byte_fallback=True), "byte_fallback"),
        ("tokenizer.json", lambda d: d.update(decoder=None), "pre_tokenizer and decoder"),
        ("tokenizer.json", lambda d: d.update(normalizer={"type": "NFC"}), "normalizer"),
        ("tokenizer.json", lambda d: d.update(added_tokens=[{"id": 200}]), "added_tokens"),
        ("tokenizer.json", lambda d: d["model"]["vocab"].update(x=999), r"ids 0\.\.200"),
        ("tokenizer.json", lambda d: d["model"]["vocab"].update(x="1"), "ids"),
        ("tokenizer.json", lambda d: d["model"].update(merges=[["no", "such"]]), "tokenizer"),
    ],
)
def test_load_names_the_fault(folder, name, change, match):
    if "vocab_size" not in match:
        _edit(folder, "processor_config.json", lambda d: d.update(vocab_size=10**6))
    _edit(folder, name, change)
    with pytest.raises(FastFormatError, match=match):
        FastTokenizer.load(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json"])
@pytest.mark.parametrize(
    ("content", "match"),
    [(None, "missing"), (b"", "not readable"), (b"\xff{}", "not readable"), (b"[]", "found list")],
)
def test_load_refuses_damaged_files(folder, name, content, match):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(FastFormatError, match=f"{name}.*{match}"):
        FastTokenizer.load(folder)


def test_coefficients_a_foreign_vocabulary_cannot_spell_are_an_error(folder):
    """The reference's own `fit` leaves such holes and drops the coefficient without a word."""

    def make_a_hole(document):
        model = document["model"]
        hole = chr(43 + 5)  # coefficient 5
        texts = [t for t in sorted(model["vocab"], key=model["vocab"].get) if hole not in t]
        model["vocab"] = {t: i for i, t in enumerate(texts)}
        model["merges"] = [pair for pair in model["merges"] if hole not in "".join(pair)]

    _edit(folder, "tokenizer.json", make_a_hole)
    tokenizer = FastTokenizer.load(folder)
    assert tokenizer.coefficient_range == (-43, 4)
    with pytest.raises(CoefficientRangeError, match=r"coefficient 5 .*-43\.\.4"):
        tokenizer.encode(np.full((1, 1, 1), 0.5))
    assert len(tokenizer.encode(np.full((1, 1, 1), 0.6))) == 1
