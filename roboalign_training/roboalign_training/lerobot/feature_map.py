"""Mapping of LeRobot features to streams and actions of the contract."""

from __future__ import annotations

from dataclasses import dataclass


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
        unused: Features, and dimensions of those that are taken from, that nothing comes from.
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
