"""The names that `info.json` gives to the dimensions of a feature, in every layout there is."""

from __future__ import annotations

from itertools import chain

Name = tuple[str, str]
"""The group that a dimension stands in, or "", and its name there."""

_LAYOUTS = "a list of names, lists in a list or below headings, or name-to-place mappings"


def dimension_names(names: object, width: int) -> dict[int, Name] | None:
    """Reads the `names` of a feature with `width` dimensions.

    Args:
        names: `["x", "y"]`; the same in a list (`[["x", "y"]]`); below headings
            (`{"motors": ["x", "y"]}`, `{"left": [...], "right": [...]}`); name to place
            (`{"x": 0, "y": 1}`, also below headings, with places in the whole or in the group);
            place to name (`{"0": "x"}`).
        width: How many dimensions there are.

    Returns:
        Place -> name, for the places that have one; None where there is no name at all.

    Raises:
        ValueError: When there is something else, or another number of names: what it means must
            not be guessed.
    """
    groups = list(_groups(names, ""))
    if not any(part for _, part in groups):
        return None
    lists = [part for _, part in groups if isinstance(part, list)]
    if len(lists) == len(groups):
        flat = [(group, name) for group, part in groups for name in part]
        if len(flat) != width:
            raise ValueError(f"{len(flat)} of them, but its shape has {width} dimensions")
        return dict(enumerate(flat))
    if lists:
        raise ValueError(f"some have a place and some have none, expected {_LAYOUTS}")
    found = _placed([(group, part) for group, part in groups if part])
    if max(found) >= width:
        raise ValueError(
            f"{found[max(found)][1]} stands at place {max(found)}, but its shape has {width} "
            "dimensions (places begin at 0)"
        )
    return found


def _groups(names: object, group: str) -> list[tuple[str, list[str] | dict[str, int]]]:
    """Lists of names, or names with places, and the groups they stand in, in their order."""
    if names is None:
        return []
    if isinstance(names, str):
        return [(group, [names])]
    if isinstance(names, list):
        return list(chain.from_iterable(_groups(part, group) for part in names))
    if isinstance(names, dict):
        values = list(names.values())
        if values and all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            return [(group, dict(names))]
        if values and all(isinstance(v, str) for v in values):
            if all(key.isdecimal() for key in names):
                return [(group, {name: int(key) for key, name in names.items()})]
            raise ValueError(f"{names!r} names no places, expected {_LAYOUTS}")
        inner = (_groups(part, f"{group}.{key}" if group else key) for key, part in names.items())
        return list(chain.from_iterable(inner))
    raise ValueError(f"{names!r} is no name, expected {_LAYOUTS}")


def _placed(groups: list[tuple[str, dict[str, int]]]) -> dict[int, Name]:
    """Names by the places that they are given: of the whole, or counted from 0 in every group."""
    places = [place for _, part in groups for place in part.values()]
    if min(places) < 0:
        raise ValueError(f"a place is {min(places)}, expected 0 or more")
    if len(set(places)) == len(places):
        return {place: (group, name) for group, part in groups for name, place in part.items()}
    found, start = {}, 0
    for group, part in groups:
        if sorted(part.values()) != list(range(len(part))):
            raise ValueError(f"several stand at place {max(places, key=places.count)}")
        found |= {start + place: (group, name) for name, place in part.items()}
        start += len(part)
    return found
