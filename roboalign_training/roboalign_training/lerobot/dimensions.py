"""The dimensions of one LeRobot feature: found by name, by group and name, or by place."""

from __future__ import annotations

from collections.abc import Mapping

from roboalign_training.lerobot.names import dimension_names

_POSITION = ".pos"  # LeRobot's drivers append it to the name of a joint


class Dimensions:
    """The dimensions of a feature and what they are called.

    Attributes:
        feature: Its name.
        width: How many there are.
        named: Whether any has a name, its own or one that was given.
    """

    def __init__(self, feature: str, about: dict) -> None:
        """Of a feature as `info.json` describes it.

        Raises:
            ValueError: When its shape or names are not those of a vector.
        """
        shape = about.get("shape")
        if not isinstance(shape, list) or len(shape) != 1 or not isinstance(shape[0], int):
            raise ValueError(f"shape {shape}, expected that of a vector")
        self.feature, self.width = feature, shape[0]
        try:
            names = dimension_names(about.get("names"), self.width) or {}
        except ValueError as error:
            raise ValueError(f"names: {error}") from error
        self._own: list[str] = [""] * self.width
        self._others: list[set[str]] = [set() for _ in range(self.width)]
        for place, (group, name) in names.items():
            self._own[place] = name
            for short in {name, name.removesuffix(_POSITION)}:
                self._others[place].add(short)
                if group:
                    self._others[place] |= {f"{group}.{short}", f"{group}_{short}"}
        self._given: dict[int, str] = {}

    @property
    def named(self) -> bool:
        """Whether any dimension has a name, its own or one that was given."""
        return any(self._own) or bool(self._given)

    def name(self, place: int) -> str:
        """What a dimension is called; "" where it has no name."""
        return self._given.get(place) or self._own[place]

    def label(self, place: int) -> str:
        """A dimension for a text: its name, and its place where others share it."""
        name = self.name(place)
        alone = [self.name(p) for p in range(self.width)].count(name) == 1
        return name if name and alone else f"{name} at place {place}".strip()

    def labels(self) -> str:
        """All dimensions for a text."""
        return ", ".join(self.label(place) for place in range(self.width))

    def places(self, name: str) -> list[int]:
        """Where a name stands: given ones first, then names as they are, then their variants."""
        places = range(self.width)
        return (
            [p for p in places if self._given.get(p) == name]
            or [p for p in places if self._own[p] == name]
            or [p for p in places if name and name in self._others[p]]
        )

    def rename(self, names: Mapping[str, str]) -> set[str]:
        """Gives other names to dimensions, all at once.

        Args:
            names: Their name -> ours. Where no dimension has their name and it is a number, it is
                a place, from 0 on; what a place is called wins over other dimensions of this name.

        Returns:
            Their names that there are.
        """
        found = {theirs: self.places(theirs) for theirs in names}
        for theirs, ours in names.items():
            for place in found[theirs]:
                self._own[place], self._others[place] = ours, {ours, ours.removesuffix(_POSITION)}
            if not found[theirs] and theirs.isdecimal() and int(theirs) < self.width:
                found[theirs] = [int(theirs)]
                self._given[int(theirs)] = ours
        return {theirs for theirs, places in found.items() if places}
