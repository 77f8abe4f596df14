"""Load an MLLM (roboalign-tiny, Qwen2.5-VL or Qwen3-VL) and give it the action vocabulary."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import AddedToken
from transformers import (
    AutoConfig,
    AutoTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils import logging as transformers_logging

from roboalign_policy.core.git_lfs import first_pointer
from roboalign_policy.core.keys import ACTION_END, ACTION_START, fast_token
from roboalign_policy.models.processor import ImageTextProcessor
from roboalign_policy.models.tiny import PACKAGED

TINY = "roboalign-tiny"
DTYPES = ("auto", "float32", "bfloat16", "float16")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
FAMILIES = {
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
}


@dataclass
class MLLM:
    """A vision-language model with its processor.

    Attributes:
        model: ``Qwen2_5_VLForConditionalGeneration`` or ``Qwen3VLForConditionalGeneration``.
        processor: images and text to model inputs.
        family: ``qwen2_5_vl`` or ``qwen3_vl``.
        name: what it was loaded from.
    """

    model: Any
    processor: ImageTextProcessor
    family: str
    name: str

    @property
    def tokenizer(self):
        """The processor's tokenizer."""
        return self.processor.tokenizer


class ModelError(ValueError):
    """A model folder or name that cannot be used, with what was found and expected."""


def base_family(name_or_folder: str | Path) -> str:
    """The model type of a base or fine-tuned MLLM, by its `config.json` alone.

    Raises:
        ModelError: it is not there, or not of a family that is known.
    """
    name = str(name_or_folder)
    if name == TINY and not PACKAGED.is_dir():
        raise ModelError(
            f"{PACKAGED}: not found, expected the packaged roboalign-tiny (make it: roboalign "
            "pretrain-tiny)"
        )
    path = Path(name)
    if not path.exists() and (not _HUB_NAME.fullmatch(name) or _is_of_a_run(path)):
        raise ModelError(
            f"{name}: no such folder, expected roboalign-tiny, the folder of a checkpoint, or a "
            "name on the hub such as Qwen/Qwen2.5-VL-7B-Instruct"
        )
    source = str(PACKAGED) if name == TINY else name
    if Path(source).is_dir() and not list(Path(source).glob("*.safetensors")):
        raise ModelError(
            f"{source}: found no *.safetensors, expected the weights of a Qwen2.5-VL or Qwen3-VL "
            "model"
        )
    refuse_pointers(Path(source))
    with _reading(name):
        family = AutoConfig.from_pretrained(source).model_type
    if family not in FAMILIES:
        raise ModelError(
            f"{name}: config.json: model_type: found {family!r}, expected one of "
            f"{', '.join(FAMILIES)}"
        )
    return family


def _is_of_a_run(path: Path) -> bool:
    """Whether it can only mean a training run's `policy/`."""
    return path.name == "policy" or (path.parent / "run.json").is_file()


def load_mllm(name_or_folder: str | Path, device: str = "auto", dtype: str = "auto") -> MLLM:
    """Load a base or fine-tuned MLLM.

    Args:
        name_or_folder: ``roboalign-tiny`` (packaged), a folder, or a hub name such as
            ``Qwen/Qwen2.5-VL-7B-Instruct`` or ``Qwen/Qwen3-VL-8B-Instruct``.
        device: ``auto`` takes the first CUDA device where there is one, else the CPU.
        dtype: ``auto`` takes the stored one; or ``float32``, ``bfloat16``, ``float16``.

    Raises:
        ModelError: not a Qwen2.5-VL or Qwen3-VL, no safetensors weights, a damaged or missing
            file, or an unknown device or dtype.
    """
    name = str(name_or_folder)
    source = str(PACKAGED) if name == TINY else name
    if dtype not in DTYPES:
        raise ModelError(f"dtype: found {dtype!r}, expected one of {', '.join(DTYPES)}")
    device = resolve_device(device)
    family = base_family(name)
    with _reading(name), _bars_on_a_terminal():
        model = FAMILIES[family].from_pretrained(source, dtype=dtype, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")
        image_processor = Qwen2VLImageProcessorPil.from_pretrained(source)
    processor = ImageTextProcessor(
        image_processor, tokenizer, chat_template=_chat_template(source, tokenizer)
    )
    return MLLM(model.to(device), processor, family, name)


def refuse_pointers(folder: Path) -> None:
    """Refuse a folder of a clone without git-lfs.

    Raises:
        ModelError: naming the first pointer in it, and how to get the file.
    """
    if found := first_pointer(folder):
        path, fault = found
        raise ModelError(f"{path}: {fault}")


def resolve_device(device: str) -> str:
    """Turn ``auto`` into a device name.

    Raises:
        ModelError: an unknown device, or a CUDA device that is not there: that is an error and no
            reason to take the CPU.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ModelError(
            f"device: found {device!r}, expected auto, cpu or cuda, cuda:0 ..."
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f"device: found {device!r}, expected 'cpu' or 'auto': torch sees no CUDA device"
        )
    return device


def extend_vocabulary(mllm: MLLM, n_fast: int, seed: int = 0) -> None:
    """Add ``<ACTION_START> <ACTION_END> <fast_0> ..`` to vocabulary and embeddings.

    New rows are drawn from a normal distribution with the mean and standard deviation of the
    existing ones, of the input and, where it is a matrix of its own, of the output embedding.
    Nothing happens to tokens that are there already.

    Args:
        mllm: changed in place.
        n_fast: entries of the FAST tokenizer.
        seed: of the new rows.

    Raises:
        ModelError: the model already has FAST tokens, but another number of them.
    """
    tokenizer = mllm.tokenizer
    present = count_fast_tokens(tokenizer)
    if present and present != n_fast:
        raise ModelError(
            f"{mllm.name}: found {present} FAST tokens in the vocabulary, expected {n_fast}"
        )
    if present:
        return
    names = [ACTION_START, ACTION_END, *(fast_token(i) for i in range(n_fast))]
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in names])
    before = mllm.model.get_input_embeddings().weight.shape[0]
    used = min(len(tokenizer) - len(names), before)
    size = max(len(tokenizer), before)
    mllm.model.resize_token_embeddings(size, mean_resizing=False)
    for layer in (mllm.model.get_input_embeddings(), mllm.model.get_output_embeddings()):
        known = layer.weight[:used].detach().float()
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(size - used, known.shape[1], generator=generator) * float(known.std())
        with torch.no_grad():
            layer.weight[used:] = (rows + known.mean(0).cpu()).to(layer.weight)


def count_fast_tokens(tokenizer) -> int:
    """Number of ``<fast_i>`` tokens in a tokenizer's vocabulary."""
    vocabulary = tokenizer.get_vocab()
    count = 0
    while fast_token(count) in vocabulary:
        count += 1
    return count


@contextmanager
def _bars_on_a_terminal() -> Iterator[None]:
    """Transformers' bars fill a log that is no terminal with pieces of lines."""
    hidden = transformers_logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    if hidden:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if hidden:
            transformers_logging.enable_progress_bar()


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """What transformers and safetensors say of a bad folder or name, as a ModelError."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{name}: found a model that cannot be read: {error}") from error


def _chat_template(source: str, tokenizer) -> str:
    if tokenizer.chat_template:
        return tokenizer.chat_template
    path = Path(source) / "chat_template.json"
    if path.is_file():
        return json.loads(path.read_text())["chat_template"]
    raise ModelError(f"{source}: found no chat template in the tokenizer, expected one")


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON file of a checkpoint.

    Raises:
        ModelError: it cannot be read, or is no object.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: found no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path}: found {type(document).__name__}, expected an object")
    return document
