"""What a training run looks like from outside: exit statuses, configuration files, folder.

The trainers and the nodes that start them share it; no torch, so that a node starts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

RUN = "run.json"
METRICS = "metrics.jsonl"
POLICY = "policy"
CANDIDATE, TRAINED, DEVELOPMENT = "candidate", "trained.json", "development"
"""Of a GRPO run: the policy that may take the base's place, what training came to before one was
chosen, and the episodes that both have driven for it."""
FEATURES = "features"
"""Of a VLA run: the hidden states that the head is trained on."""
RESULT = "result.json"
SAME_AS = "same_as"
"""Key of a result that was taken from another run: the name of the policy whose it is."""
LOG = "log.txt"
EXIT_FINISHED = 0
EXIT_FAILED = 1
EXIT_INVALID_CONFIG = 2
EXIT_STOPPED = 130
DATA_FAULT = "data fault: "
"""Begins the last line of a trainer that cannot use its bags or data set; the nodes know it."""


class ConfigError(ValueError):
    """A configuration that cannot be run; it names file, key, value and what was expected."""


def packaged_config(kind: str) -> Path:
    """The configuration that comes with the package, in the source tree and where it is installed.

    Raises:
        ConfigError: when the package holds none of this kind.
    """
    places = [
        place / f"{kind}.yaml"
        for parent in Path(__file__).resolve().parents
        for place in (parent / "config", parent / "share" / "roboalign_training" / "config")
    ]
    for place in places:
        if place.is_file():
            return place
    folders = ", ".join(str(place.parent) for place in places[:4])
    raise ConfigError(f"{kind}.yaml: not found, expected it in one of {folders}")


def run_folder(config: str, options: Sequence[str]) -> Path | None:
    """The folder that a run with this configuration and these options writes to, or None."""
    folder = None
    path = Path(config)
    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        keys = None  # the trainer says what is wrong with it
    folder = keys.get("output_dir") if isinstance(keys, dict) else None
    for at, option in enumerate(options):
        name, equals, value = option.partition("=")
        if name in ("--out", "--output_dir", "--output-dir"):
            folder = value if equals else next(iter(options[at + 1 : at + 2]), folder)
    return Path(folder) if folder else None
