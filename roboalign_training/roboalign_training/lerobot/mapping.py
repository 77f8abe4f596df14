"""Which LeRobot feature a stream comes from, dimension by dimension, or why none fits."""

from __future__ import annotations

from collections.abc import Mapping

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.keys import ACTION, STATE_PREFIX
from roboalign_training.bags.errors import RefusedError
from roboalign_training.lerobot.feature_map import FeatureMap
from roboalign_training.lerobot.layout import COUNTERS, STATE
from roboalign_training.lerobot.search import Search
from roboalign_training.lerobot.source import LeRobotSource


def make_map(
    contract: Contract,
    source: LeRobotSource,
    maps: Mapping[str, str] | None = None,
    renames: Mapping[str, str] | None = None,
    gains: Mapping[str, tuple[float, float]] | None = None,
) -> FeatureMap:
    """Finds the feature of every stream and of the action.

    `image.x` is looked for as `observation.images.x`, `state.x` as `observation.state.x`, else in
    `observation.state`, and there by the names of its dimensions.

    Args:
        contract: What is wanted.
        source: What there is.
        maps: Feature -> contract key, where the names do not say it.
        renames: Name of a dimension there, or its place, `FEATURE:` before it for one feature
            alone -> name in the contract.
        gains: Name of a dimension in the contract -> gain and offset of it, in states and action.

    Raises:
        RefusedError: When something is missing or disagrees; the text has all of it.
    """
    keys = (*(s.key for s in contract.observations), ACTION)
    search = Search(source, contract, {}, renames or {}, gains or {})
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
    search.faults += [
        f"--rename {theirs}={ours}: no feature has a dimension {theirs.rpartition(':')[2]}, only "
        + "; ".join(f"{d.feature}: {d.labels()}" for d in search.found.values() if d)
        for theirs, ours in search.renames.items()
        if theirs not in search.renamed
    ]
    if search.faults:
        raise RefusedError(source.folder, "; ".join(search.faults))
    used = {*images.values(), *(v.feature for v in vectors.values()), *COUNTERS}
    unused = [name for name in source.features if name not in used]
    for dims in filter(None, search.found.values()):
        places = {p for v in vectors.values() if v.feature == dims.feature for p in v.places}
        rest = [dims.label(place) for place in range(dims.width) if place not in places]
        unused += [f"{', '.join(rest)} of {dims.feature}"] if rest else []
    return FeatureMap(images, vectors, tuple(unused), tuple(search.notes))
