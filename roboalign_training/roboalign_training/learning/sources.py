"""The sources of the SFT mixture by name, and how they are opened.

A new source is a file with a function `make(inputs: SourceInputs, *, option: type = default ...)`
that returns a `Source`, and a line in `SOURCES`. It is drawn from where the YAML of SFT gives it a
share: `sources: {name: 0.1}`, or with the function's options `sources: {name: {share: 0.1, ...}}`.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from roboalign_training.bags.errors import DatasetError
from roboalign_training.learning.source import Source, SourceInputs
from roboalign_training.shared.fields import value_as
from roboalign_training.shared.run_layout import ConfigError

SOURCES: dict[str, str] = {
    "act": "roboalign_training.learning.action_source:without_thought",
    "think": "roboalign_training.learning.action_source:with_thought",
    "scene": "roboalign_training.pretraining.grounding_source:scene_questions",
    "grasp": "roboalign_training.learning.action_source:grasp_questions",
    "thought": "roboalign_training.learning.action_source:thought_questions",
    "scene_thought": "roboalign_training.learning.moment_source:scene_thoughts",
}
"""Name -> module:function, imported when it is drawn from. New ones come last: the order is part
of the draw."""
PATHS = frozenset({"file", "images", "folder", "dataset"})
"""Options that are paths: in a mixture's file they are relative to it."""
ACTIONS = ("act", "think")
"""Those that ask for the actions of frames: the validation loss is measured with them."""


@dataclass(frozen=True)
class SourceShare:
    """What the configuration says about a source.

    Attributes:
        key: where it says so, such as `weight_act` or `sources.captions`.
        weight: relative share of the mixture, 0 or more.
        options: of the function that makes it.
        source: which one it is, where its name is another.
    """

    key: str
    weight: float
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


def check_sources(shares: Mapping[str, SourceShare]) -> None:
    """Refuses options that a source does not take, before anything is loaded.

    Raises:
        ConfigError: names the option.
    """
    for name, share in shares.items():
        if share.weight:
            _options(share.source or name, share)


def open_sources(shares: Mapping[str, SourceShare], inputs: SourceInputs) -> dict[str, Source]:
    """Opens the sources that have a share.

    Raises:
        ConfigError: an option cannot be used.
        DatasetError: there is nothing to draw from.
    """
    opened = {}
    for name, share in shares.items():
        if not share.weight:
            continue
        kind = share.source or name
        opened[name] = source = _maker(kind)(inputs, **_options(kind, share))
        if not len(source):
            raise DatasetError(
                inputs.data.folder,
                f"{share.key}: found {share.weight:g}, expected 0: there is nothing of this kind "
                "to draw from",
            )
    return opened


def _maker(name: str) -> Callable[..., Source]:
    module, _, function = SOURCES[name].partition(":")
    return getattr(importlib.import_module(module), function)


def _options(name: str, share: SourceShare) -> dict[str, Any]:
    """The options as the maker takes them."""
    maker = _maker(name)
    hints = typing.get_type_hints(maker)
    known = {
        p.name: p
        for p in inspect.signature(maker).parameters.values()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for option in share.options:
        if option not in known:
            expected = ", ".join(("share", *known))
            raise ConfigError(f"{share.key}: found {option!r}, expected keys of {expected}")
    missing = [p.name for p in known.values() if p.default is p.empty]
    for option in missing:
        if option not in share.options:
            raise ConfigError(f"{share.key}.{option}: not given, and there is no default")
    for option in share.options:
        if option not in hints:
            raise ConfigError(
                f"{share.key}.{option}: found an option without a type in {SOURCES[name]}, "
                f"expected one, as in `{option}: int`"
            )
    try:
        return {
            option: value_as(f"{share.key}.{option}", hints[option], value)
            for option, value in share.options.items()
        }
    except ValueError as error:
        raise ConfigError(str(error)) from error
