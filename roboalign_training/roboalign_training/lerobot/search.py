"""The search for the feature that a stream or the action comes from, dimension by dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from roboalign_policy.core.contract.contract import Contract, Stream
from roboalign_policy.core.keys import ACTION
from roboalign_training.lerobot.dimensions import Dimensions
from roboalign_training.lerobot.feature_map import Vector
from roboalign_training.lerobot.layout import COUNTERS, dimension_name, image_feature
from roboalign_training.lerobot.names import dimension_names
from roboalign_training.lerobot.source import LeRobotSource

_NUMBERS = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclass
class Search:
    """The search for features, and all that was found wrong on the way.

    Attributes:
        source, contract: What there is, and what is wanted.
        given: Contract key -> feature, as the user said.
        renames: Their name of a dimension -> ours, as the user said; see `Dimensions.rename`.
        gains: Our name of a dimension -> gain and offset.
        faults, notes: What is wrong, and what a user should know.
        found: Feature -> its dimensions; None where they cannot be told.
        renamed: Those of `renames` that there are.
    """

    source: LeRobotSource
    contract: Contract
    given: dict[str, str]
    renames: Mapping[str, str]
    gains: Mapping[str, tuple[float, float]]
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    taken: dict[tuple[str, int], str] = field(default_factory=dict)
    found: dict[str, Dimensions | None] = field(default_factory=dict)
    renamed: set[str] = field(default_factory=set)

    def feature(self, key: str, *usual: str) -> str | None:
        """The feature of a contract key: the one given, else the first of the usual ones."""
        if key in self.given:
            return self.given[key]
        for name in usual:
            if name in self.source.features:
                return name
        others = ", ".join(f for f in self.source.features if f not in COUNTERS)
        self.faults.append(
            f"{key}: no feature {' or '.join(usual)}, only {others}; say which with "
            f"--map FEATURE={key}"
        )
        return None

    def image(self, stream: Stream) -> str | None:
        """The feature of an image stream."""
        name = self.feature(stream.key, image_feature(stream.key))
        if name is None:
            return None
        about = self.source.features[name]
        if about.get("dtype") not in ("video", "image"):
            self.faults.append(
                f"{name}: dtype {about.get('dtype')!r}, but {stream.key} takes 'video' or 'image'"
            )
            return None
        if about["dtype"] == "video" and name in self.source.video_faults:
            self.faults.append(f"{name}: {self.source.video_faults[name]}")
        if _is_depth(about):
            self.faults.append(f"{name}: is a depth map, but {stream.key} takes colours")
        shape = _height_width_channels(about)
        if shape != stream.value_shape:
            self.faults.append(
                f"{name}: shape (height, width, channels) {shape}, but {stream.key} of contract "
                f"{self.contract.name} is {stream.value_shape}"
            )
        return name

    def vector(
        self, key: str, names: tuple[str, ...], usual: tuple[str, ...], stream: Stream | None
    ) -> Vector | None:
        """The feature and dimensions of a state stream, or, where it is None, of the action."""
        name = self.feature(key, *usual)
        if name is None:
            return None
        about = self.source.features[name]
        shape = about.get("shape")
        if about.get("dtype") not in _NUMBERS or not isinstance(shape, list) or len(shape) != 1:
            self.faults.append(
                f"{name}: dtype {about.get('dtype')!r} and shape {shape}, but {key} takes a "
                f"vector of numbers"
            )
            return None
        dims = self.dimensions(name)
        if dims is None:
            return None
        if dims.named:
            return self._by_name(key, dims, names, stream)
        return self._by_order(key, dims, names)

    def dimensions(self, feature: str) -> Dimensions | None:
        """The dimensions of a feature under the names that the user gave; None with a fault."""
        if feature not in self.found:
            try:
                dims = self.found[feature] = Dimensions(feature, self.source.features[feature])
            except ValueError as error:
                self.faults.append(f"{feature}: {error}")
                self.found[feature] = None
                return None
            about = {}
            for key, ours in self.renames.items():
                of, sign, theirs = key.partition(":")
                if not (sign and of in self.source.features):
                    of, theirs = feature, key
                if of == feature:
                    about[theirs] = (key, ours)
            matched = dims.rename({theirs: ours for theirs, (_, ours) in about.items()})
            self.renamed |= {about[theirs][0] for theirs in matched}
        return self.found[feature]

    def _by_order(self, key: str, dims: Dimensions, names: tuple[str, ...]) -> Vector | None:
        if dims.width != len(names):
            self.faults.append(
                f"{dims.feature}: {dims.width} dimensions without names, but {key} of contract "
                f"{self.contract.name} has {len(names)} ({', '.join(names)}); name them by their "
                f"places with --rename 0={names[0]} ..."
            )
            return None
        self.notes.append(
            f"{dims.feature} does not name its dimensions: taken in the order of {key} "
            f"({', '.join(names)})"
        )
        return self._take(key, dims.feature, names, tuple(range(dims.width)))

    def _by_name(
        self, key: str, dims: Dimensions, names: tuple[str, ...], stream: Stream | None
    ) -> Vector | None:
        feature, places, missing, twice = dims.feature, [], [], []
        for name in names:
            # `ee.x` where several streams share the vector.
            full = dimension_name(stream, name) if stream is not None else name
            found = dims.places(full) or dims.places(name)
            places += found
            if not found:
                missing.append(name)
            elif len(found) > 1:
                twice.append((name, found))
        if missing:
            self.faults.append(
                f"{feature}: found dimensions {dims.labels()}, but {key} of contract "
                f"{self.contract.name} takes {', '.join(names)}: no {', '.join(missing)}; where "
                f"they mean the same, say so with --rename THEIRS=OURS"
            )
        for name, found in twice:
            self.faults.append(
                f"{feature}: names a dimension twice: {name}, which {key} takes once, stands at "
                f"places {' and '.join(map(str, found))}; say which by its place, as in --rename "
                f"{feature}:{found[0]}={name}"
            )
        if missing or twice:
            return None
        extra = [p for p in range(dims.width) if p not in places]
        if stream is None and extra:
            self.faults.append(
                f"{feature}: has {', '.join(map(dims.label, extra))} beside the {len(names)} "
                f"dimensions of contract {self.contract.name}: an action cannot be left out"
            )
            return None
        return self._take(key, feature, names, tuple(places))

    def _take(
        self, key: str, feature: str, names: tuple[str, ...], places: tuple[int, ...]
    ) -> Vector:
        for name, place in zip(names, places, strict=True) if key != ACTION else ():
            other = self.taken.setdefault((feature, place), f"{key} {name}")
            if other != f"{key} {name}":
                self.faults.append(
                    f"{feature}: dimension {place} would be both {other} and {key} {name}"
                )
        factors = [self.gains.get(name, (1.0, 0.0)) for name in names]
        gains, offsets = zip(*factors, strict=True)
        return Vector(feature, places, gains, offsets)


def _height_width_channels(about: dict) -> tuple[int, ...]:
    """Shape of an image feature, channels last; LeRobot has both orders."""
    shape = tuple(about.get("shape") or ())
    try:
        names = dimension_names(about.get("names"), len(shape)) or {}
    except ValueError:
        names = {}
    first = bool(names) and names[0][1].startswith("channel")
    if len(shape) == 3 and (first or (not names and shape[0] == 3 and shape[2] != 3)):
        return (*shape[1:], shape[0])
    return shape


def _is_depth(about: dict) -> bool:
    """Whether an image feature holds distances."""
    parts = [part for part in (about.get("info"), about.get("video_info")) if part]
    return any(p.get("is_depth_map") or p.get("video.is_depth_map") for p in parts)
