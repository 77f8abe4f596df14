"""The Hugging Face folder of a FAST tokenizer: tokenizer.json and processor_config.json."""

from __future__ import annotations

import json
import numbers
from pathlib import Path

from roboalign_policy.core.git_lfs import pointer_fault
from roboalign_policy.fast.errors import FastFormatError

TOKENIZER = "tokenizer.json"
PROCESSOR = "processor_config.json"

# Lets `transformers.AutoProcessor` find the reference's class without a copy of its code here.
_AUTO_MAP = {
    "AutoProcessor": "physical-intelligence/fast--processing_action_tokenizer"
    ".UniversalActionProcessor"
}


def read(folder: Path) -> tuple[dict, dict]:
    """Reads and checks both files.

    Returns:
        (tokenizer.json, processor_config.json) as parsed; the second has `scale` and `min_token`.

    Raises:
        FastFormatError: A file or key is missing or of the wrong type; names it.
    """
    model = _read_json(folder / TOKENIZER)
    config = _read_json(folder / PROCESSOR)
    where = folder / PROCESSOR
    for key, kind in (("scale", numbers.Real), ("min_token", numbers.Integral)):
        if isinstance(config.get(key), bool) or not isinstance(config.get(key), kind):
            raise FastFormatError(
                f"{where}: {key}: found {config.get(key)!r}, expected a number"
                + (" without fraction" if kind is numbers.Integral else "")
            )
    body = model.get("model")
    if not isinstance(body, dict) or not isinstance(body.get("vocab"), dict):
        raise FastFormatError(f"{folder / TOKENIZER}: model.vocab: missing, expected an object")
    size, declared = len(body["vocab"]), config.get("vocab_size", len(body["vocab"]))
    # The reference writes the size it was asked for; training may have found fewer merges.
    if not isinstance(declared, numbers.Integral) or size > declared:
        raise FastFormatError(
            f"{where}: vocab_size: found {declared!r}, but {TOKENIZER} has {size} tokens"
        )
    return model, config


def write(folder: Path, model: dict, scale: float, min_token: int, vocab_size: int) -> None:
    """Writes the four files of the layout, creating the folder.

    Args:
        folder: Where to; files of the same names are replaced.
        model: tokenizer.json as an object.
        scale: Coefficients per unit.
        min_token: Coefficient of character 0.
        vocab_size: Tokens in `model`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    processor = {
        # The reference remembers shapes here; explicit arguments replace that.
        "action_dim": None,
        "auto_map": _AUTO_MAP,
        "min_token": min_token,
        "processor_class": "UniversalActionProcessor",
        "scale": int(scale) if float(scale).is_integer() else scale,
        "time_horizon": None,
        "vocab_size": vocab_size,
    }
    tokenizer = {
        "added_tokens_decoder": {},
        "auto_map": _AUTO_MAP,
        # Cleaning would drop spaces before punctuation, and a space is a coefficient here.
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(1e30),
        "processor_class": "UniversalActionProcessor",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for name, document in (
        (TOKENIZER, model),
        (PROCESSOR, processor),
        ("tokenizer_config.json", tokenizer),
        ("special_tokens_map.json", {}),
    ):
        text = json.dumps(document, indent=2, ensure_ascii=True) + "\n"
        (folder / name).write_text(text, encoding="utf-8")


def _read_json(path: Path) -> dict:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise FastFormatError(f"{path}: missing, expected a FAST tokenizer folder") from exc
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as exc:
        fault = pointer_fault(path) or f"not readable as JSON: {exc}"
        raise FastFormatError(f"{path}: {fault}") from exc
    if not isinstance(document, dict):
        raise FastFormatError(f"{path}: found {type(document).__name__}, expected an object")
    return document
