"""Which LeRobot feature a stream comes from, dimension by dimension, or why none fits."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field

from roboalign_policy.core.contract import Contract, Stream
from roboalign_policy.core.keys import STATE_PREFIX
from roboalign_training.data.errors import DatasetError
from roboalign_training.lerobot.layout import (
    ACTION,
    COUNTERS,
    STATE,
    dimension_name,
    image_feature,
)
from roboalign_training.lerobot.source import LeRobotSource

_NUMBERS = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
_POSITION = ".pos"  # LeRobot's drivers append it to the name of a joint


@dataclass(frozen=True)
class Vector:
    """Where a vector comes from.

    Attributes:
        feature: The feature.
        places: For each of our dimensions, the place of theirs.
        gains, offsets: ours = theirs * gain + offset.
    """

    feature: str
    places: tuple[int, ...]
    gains: tuple[float, ...]
    offsets: tuple[float, ...]

    @property
    def exact(self) -> bool:
        """Whether numbers are taken as they are."""
        return set(self.gains) == {1.0} and set(self.offsets) == {0.0}


@dataclass(frozen=True)
class FeatureMap:
    """Contract key -> what it comes from.

    Attributes:
        images: Image stream -> feature.
        vectors: State stream, or `action` -> feature and dimensions.
        unused: Features that nothing comes from.
        notes: What a user should know of it.
    """

    images: dict[str, str]
    vectors: dict[str, Vector]
    unused: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def features(self) -> dict[str, str]:
        """Contract key -> feature."""
        return {**self.images, **{key: v.feature for key, v in self.vectors.items()}}

    @property
    def columns(self) -> tuple[str, ...]:
        """The features that vectors come from."""
        return tuple(dict.fromkeys(v.feature for v in self.vectors.values()))


@dataclass
class _Search:
    """The search for features, and all that was found wrong on the way."""

    source: LeRobotSource
    contract: Contract
    given: dict[str, str]  # contract key -> feature, as the user said
    renames: MappingType[str, str]
    gains: MappingType[str, tuple[float, float]]
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    taken: dict[tuple[str, int], str] = field(default_factory=dict)

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
        found = _dimension_names(about.get("names"))
        if found is None or len(found) != shape[0]:
            return self._by_order(key, name, names, shape[0])
        return self._by_name(key, name, names, found, stream)

    def _by_order(
        self, key: str, feature: str, names: tuple[str, ...], width: int
    ) -> Vector | None:
        if width != len(names):
            self.faults.append(
                f"{feature}: {width} dimensions without names, but {key} of contract "
                f"{self.contract.name} has {len(names)} ({', '.join(names)})"
            )
            return None
        self.notes.append(
            f"{feature} does not name its dimensions: taken in the order of {key} "
            f"({', '.join(names)})"
        )
        return self._take(key, feature, names, tuple(range(width)))

    def _by_name(
        self,
        key: str,
        feature: str,
        names: tuple[str, ...],
        found: list[str],
        stream: Stream | None,
    ) -> Vector | None:
        found = [self.renames.get(name, name) for name in found]
        if len(set(found)) != len(found):
            self.faults.append(f"{feature}: names a dimension twice: {', '.join(found)}")
            return None
        places = {name.removesuffix(_POSITION): place for place, name in enumerate(found)}
        places |= {name: place for place, name in enumerate(found)}
        wanted = list(names)
        if stream is not None:  # `ee.x` where several streams share the vector
            full = [dimension_name(stream, n) for n in names]
            wanted = [f if f in places else n for f, n in zip(full, names, strict=True)]
        missing = [n for n, w in zip(names, wanted, strict=True) if w not in places]
        if missing:
            self.faults.append(
                f"{feature}: found dimensions {', '.join(found)}, but {key} of contract "
                f"{self.contract.name} takes {', '.join(names)}: no {', '.join(missing)}; where "
                f"they mean the same, say so with --rename THEIRS=OURS"
            )
            return None
        if stream is None and len(found) != len(names):
            extra = [n for p, n in enumerate(found) if p not in {places[w] for w in wanted}]
            self.faults.append(
                f"{feature}: has {', '.join(extra)} beside the {len(names)} dimensions of "
                f"contract {self.contract.name}: an action cannot be left out"
            )
            return None
        return self._take(key, feature, names, tuple(places[w] for w in wanted))

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


def make_map(
    contract: Contract,
    source: LeRobotSource,
    maps: MappingType[str, str] | None = None,
    renames: MappingType[str, str] | None = None,
    gains: MappingType[str, tuple[float, float]] | None = None,
) -> FeatureMap:
    """Finds the feature of every stream and of the action.

    `image.x` is looked for as `observation.images.x`, `state.x` as `observation.state.x`, else in
    `observation.state`, and there by the names of its dimensions.

    Args:
        contract: What is wanted.
        source: What there is.
        maps: Feature -> contract key, where the names do not say it.
        renames: Name of a dimension there -> name in the contract.
        gains: Name of a dimension in the contract -> gain and offset of it, in states and action.

    Raises:
        DatasetError: When something is missing or disagrees; the text has all of it.
    """
    keys = (*(s.key for s in contract.observations), ACTION)
    search = _Search(source, contract, {}, renames or {}, gains or {})
    for feature, key in (maps or {}).items():
        if feature not in source.features:
            search.faults.append(
                f"--map {feature}={key}: no such feature, only {', '.join(source.features)}"
            )
        elif key not in keys:
            search.faults.append(
                f"--map {feature}={key}: no such key in contract {contract.name}, only "
                f"{', '.join(keys)}"
            )
        else:
            search.given[key] = feature
    named = {n for f in source.features.values() for n in _dimension_names(f.get("names")) or ()}
    search.faults += [
        f"--rename {theirs}={ours}: no feature has a dimension {theirs}"
        for theirs, ours in search.renames.items()
        if theirs not in named
    ]
    ours = {*contract.action.names, *(n for s in contract.states for n in s.names)}
    search.faults += [
        f"--gain {name}: no such dimension in contract {contract.name}, only "
        f"{', '.join(sorted(ours))}"
        for name in search.gains
        if name not in ours
    ]
    if source.fps != contract.rate_hz:
        search.faults.append(
            f"fps: found {source.fps:g}, but rate_hz of contract {contract.name} is "
            f"{contract.rate_hz:g}"
        )
    images = {s.key: search.image(s) for s in contract.images}
    vectors = {
        s.key: search.vector(
            s.key, s.names, (f"{STATE}.{s.key.removeprefix(STATE_PREFIX)}", STATE), s
        )
        for s in contract.states
    }
    vectors[ACTION] = search.vector(ACTION, contract.action.names, (ACTION,), None)
    if search.faults:
        raise DatasetError(source.folder, "; ".join(search.faults))
    used = {*images.values(), *(v.feature for v in vectors.values()), *COUNTERS}
    unused = tuple(name for name in source.features if name not in used)
    return FeatureMap(images, vectors, unused, tuple(search.notes))


def _dimension_names(names: object) -> list[str] | None:
    """Names of a feature's dimensions; LeRobot has them as a list or below a heading."""
    if isinstance(names, dict):
        parts = [_dimension_names(part) for part in names.values()]
        return None if None in parts else [name for part in parts for name in part]
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return names
    return None


def _height_width_channels(about: dict) -> tuple[int, ...]:
    """Shape of an image feature, channels last; LeRobot has both orders."""
    shape = tuple(about.get("shape") or ())
    names = _dimension_names(about.get("names")) or []
    first = bool(names) and names[0].startswith("channel")
    if len(shape) == 3 and (first or (not names and shape[0] == 3 and shape[2] != 3)):
        return (*shape[1:], shape[0])
    return shape


def _is_depth(about: dict) -> bool:
    """Whether an image feature holds distances."""
    parts = [part for part in (about.get("info"), about.get("video_info")) if part]
    return any(p.get("is_depth_map") or p.get("video.is_depth_map") for p in parts)
