"""An experiment: arms x training seeds, their data and evaluation, as a YAML file says it.

Everything in the file is looked at when it is read, before anything is touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.demo.experiment_keys import check_known, mapping, seeds_of, survives
from roboalign_training.demo.plan import ARM_OPTIONS, GRPO_SAMPLES, DemoConfig, Settings
from roboalign_training.demo.stage_keys import (
    prompts_of_a_batch,
    stage_arguments,
    stage_keys,
    thinks,
)
from roboalign_training.learning.trainer_checks import check_values
from roboalign_training.learning.training_options import OURS
from roboalign_training.learning.trl_fields import trl_fields
from roboalign_training.shared.fields import require, value_of
from roboalign_training.shared.plain_yaml import load_yaml
from roboalign_training.shared.run_layout import ConfigError, packaged_config
from roboalign_training.shared.suggestions import did_you_mean

BASE = "base"
STAGES = (BASE, *OURS)
"""What an arm may be: a base model with the action vocabulary, or one that was trained."""
CLOSED_LOOP, CHOOSE = "closed_loop", "choose"
AROUND = ("record", "dataset", "open_loop", CLOSED_LOOP, CHOOSE, "report")
"""Stages before and after those of the arms."""
_RESERVED = (*AROUND, "bags", "data", "logs", "configs")
_ARM_KEYS = ("stage", "from", "title", "text", "options", "seeds", "replan_after_steps")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_PATHS = ("out/", ".", "/", "~")
"""Beginnings of what names a folder, never a model of the hub."""
TINY = "roboalign-tiny"
_OWN = (
    "dataset", "bags", "contract", "base", "output_dir", "seed", "workers", "resume", "overwrite",
    "strict", "replan_after_steps",
)  # fmt: skip
"""Options of a stage that the experiment sets itself."""


@dataclass(frozen=True)
class Arm:
    """One way to a policy.

    Attributes:
        name: of its folder and in the report.
        stage: one of `STAGES`.
        start: another arm's name, or a base model.
        options: keys of the stage's YAML that are others than in the packaged one.
        seeds: training seeds; none for a base, which learns nothing.
        title: what to call it in a sentence.
        text: what it is.
        replan_after_steps: steps that are driven of each of its chunks, 0: as many as the policy
            says, else all; None: as the experiment says for all arms.
    """

    name: str
    stage: str
    start: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    title: str = ""
    text: str = ""
    replan_after_steps: int | None = None

    @property
    def thinks(self) -> bool:
        """Whether its policies reason before they act: as they were trained."""
        return thinks(self.stage, self.options)


@dataclass(frozen=True)
class ArmPolicy:
    """An arm with one training seed: a policy that is made and driven.

    Attributes:
        name: of its folder and its stage: the arm's, with the seed where there are several.
        arm: whose.
        seed: training seed; None for a base.
        start: name of the policy it starts from; None for a base model.
    """

    name: str
    arm: Arm
    seed: int | None
    start: str | None

    def folder(self, out: Path) -> Path:
        """Checkpoint folder."""
        return out / self.name if self.arm.stage == BASE else out / self.name / "policy"


@dataclass(frozen=True)
class Experiment:
    """What is run.

    Attributes:
        source: the file.
        settings: of data and evaluation.
        arms: by name, in the order of the file.
        compare: pairs of arms that the report compares.
        fewer_prompts: whether GRPO takes all frames where there are fewer than its `samples`.
        names: what a user calls an option of an arm, by arm and key, where that is not its place
            in the file.
        workers: pairs of nodes side by side.
        threads: torch threads of training; 0: torch's own choice.
    """

    source: str
    settings: Settings
    arms: Mapping[str, Arm]
    compare: Sequence[tuple[str, str]]
    fewer_prompts: bool = False
    names: Mapping[tuple[str, str], str] = field(default_factory=dict)
    workers: int = 2
    threads: int = 0

    def key(self, arm: str, option: str) -> str:
        """What a user calls an option of an arm."""
        return self.names.get((arm, option), f"arms.{arm}.options.{option}")

    def steps(self, arm: Arm) -> int:
        """Steps that are driven of each chunk; 0: as many as the policy says, else all."""
        own = arm.replan_after_steps
        return self.settings.replan_after_steps if own is None else own

    @property
    def chooses(self) -> bool:
        """Whether one of the trained policies is chosen to drive by default."""
        return self.settings.develop_episodes > 0 and bool(self.trained())

    def policies(self) -> dict[str, ArmPolicy]:
        """All of them by name; each stands behind the one that it starts from."""
        found: dict[str, ArmPolicy] = {}
        for arm in _ordered(self.arms):
            for seed in arm.seeds or (None,):
                start = self.arms.get(arm.start)
                before = _policy_name(start, seed) if start else None
                name = _policy_name(arm, seed)
                found[name] = ArmPolicy(name, arm, seed, before)
        return found

    def trained(self) -> dict[str, ArmPolicy]:
        """Those that learnt something."""
        return {n: p for n, p in self.policies().items() if p.arm.stage != BASE}

    def stages(self) -> dict[str, tuple[str, ...]]:
        """Every stage in order, and the stages that it needs."""
        policies = self.policies()
        made = {
            name: ("dataset", *((policy.start,) if policy.start else ()))
            for name, policy in policies.items()
        }
        opened, driven = tuple(self.trained()), tuple(policies)
        ends = {"open_loop": opened, "closed_loop": driven}
        if self.chooses:
            ends[CHOOSE] = opened
        return {"record": (), "dataset": ("record",), **made, **ends, "report": tuple(ends)}


def _policy_name(arm: Arm, seed: int | None) -> str:
    return arm.name if len(arm.seeds) < 2 else f"{arm.name}-{seed}"


def packaged_experiment(name: str) -> Path:
    """An experiment that comes with the package."""
    return packaged_config(f"experiments/{name}")


def load_experiment(path: Path) -> Experiment:
    """Read and check an experiment.

    Raises:
        ConfigError: naming file, key, value and what was expected.
    """
    try:
        keys = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return _experiment(str(path), keys)
    except ValueError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from error


def demo_experiment(config: DemoConfig) -> Experiment:
    """The packaged demo with the options of `roboalign demo`."""
    packaged = load_experiment(packaged_experiment("demo"))
    arms = dict(packaged.arms)
    for (name, option), called in ARM_OPTIONS.items():
        options = {**arms[name].options, option: getattr(config, called)}
        arms[name] = replace(arms[name], options=options)
    return replace(
        packaged,
        arms=arms,
        settings=Settings(**{item.name: getattr(config, item.name) for item in fields(Settings)}),
        fewer_prompts=config.grpo_samples == GRPO_SAMPLES,
        names=ARM_OPTIONS,
        workers=config.workers,
        threads=config.threads,
    )


def _experiment(source: str, keys: Any) -> Experiment:
    mapping("", keys)
    names = [item.name for item in fields(Settings)]
    check_known("", keys, (*names, "arms", "seeds", "compare"))
    settings = Settings(**{n: value_of(Settings, n, keys[n]) for n in names if n in keys})
    seeds = seeds_of("seeds", keys.get("seeds", [1]))
    written = mapping("arms", keys.get("arms"))
    require("arms", written, bool(written), "at least one arm")
    horizon = load_contract(settings.contract).action.horizon
    arms = {name: _arm(name, entry, seeds, horizon) for name, entry in written.items()}
    for arm in arms.values():
        _check_start(arm, arms)
    _ordered(arms)
    for arm in arms.values():
        if (start := arms.get(arm.start)) is not None and start.seeds:
            expected = f"some of those of {arm.start}, which it starts from: {list(start.seeds)}"
            known = set(arm.seeds) <= set(start.seeds)
            require(f"arms.{arm.name}.seeds", list(arm.seeds), known, expected)
        if arm.stage != BASE:
            check_stage_options(arm)
    return Experiment(source, settings, arms, _compared(keys.get("compare"), arms))


def _arm(name: Any, entry: Any, seeds: tuple[int, ...], horizon: int) -> Arm:
    where = f"arms.{name}"
    fits = isinstance(name, str) and _NAME.fullmatch(name) is not None
    require("arms", name, fits, "names of small letters, digits and _, a letter first")
    require("arms", name, name not in _RESERVED, f"another name than {', '.join(_RESERVED)}")
    check_known(where, mapping(where, entry), _ARM_KEYS)
    stage = entry.get("stage")
    if stage not in STAGES:
        near = did_you_mean(str(stage), STAGES)
        raise ValueError(
            f"{where}.stage: found {stage!r}, expected one of {', '.join(STAGES)}{near}"
        )
    start = entry.get("from")
    require(f"{where}.from", start, isinstance(start, str) and bool(start),
            "another arm or a base model")  # fmt: skip
    options = mapping(f"{where}.options", entry.get("options", {}))
    for key, value in options.items():
        plain = survives({key: value})
        expected = "texts, finite numbers, true, false, nothing, and lists and mappings of these"
        require(f"{where}.options.{key}", value, plain, f"{expected}; quote a date")
    if stage == BASE:
        for key in ("options", "seeds"):
            require(f"{where}.{key}", entry.get(key), key not in entry, "none: nothing is learnt")
        seeds = ()
    elif "seeds" in entry:
        seeds = seeds_of(f"{where}.seeds", entry["seeds"])
    texts = {}
    for key in ("title", "text"):
        texts[key] = entry.get(key, f"the policy {name}" if key == "title" else "")
        require(f"{where}.{key}", texts[key], isinstance(texts[key], str), "a text")
    require(f"{where}.title", texts["title"], bool(texts["title"].strip()), "a text, not blank")
    steps = None
    if "replan_after_steps" in entry:
        steps = entry["replan_after_steps"]
        check_steps(f"{where}.replan_after_steps", steps, horizon)
    return Arm(name, stage, start, options, seeds, **texts, replan_after_steps=steps)


def check_steps(key: str, steps: Any, horizon: int) -> None:
    """Refuse what cannot be driven of a chunk.

    Raises:
        ValueError: naming key, value and what was expected.
    """
    fits = type(steps) is int and 0 <= steps <= horizon
    require(key, steps, fits, f"0 to {horizon}, the steps of a chunk")


def _check_start(arm: Arm, arms: Mapping[str, Arm]) -> None:
    """What an arm starts from exists, and is of a kind that its stage can start from."""
    where, start = f"arms.{arm.name}.from", arms.get(arm.start)
    if arm.stage in ("grpo", "vla"):
        able = [name for name, other in arms.items() if other.stage in OURS and name != arm.name]
        if start is None or start.stage == BASE:
            near = did_you_mean(arm.start, able)
            raise ValueError(
                f"{where}: found {arm.start!r}, expected an arm that was trained (of stages "
                f"{', '.join(OURS)}){near}"
            )
    elif arm.stage == BASE:
        require(where, arm.start, start is None, "a base model")
    if start is None:
        hub = _HUB.fullmatch(arm.start) and not arm.start.startswith(_PATHS)
        known = arm.start == TINY or Path(arm.start).is_dir() or hub
        near = did_you_mean(arm.start, [*arms, TINY])
        if not known:
            raise ValueError(
                f"{where}: found {arm.start!r}, expected another arm or a base model: "
                f"{TINY}, a folder that is there, or a name of the hub{near}"
            )


def _ordered(arms: Mapping[str, Arm]) -> list[Arm]:
    """The arms, each behind the one that it starts from, else as in the file.

    Raises:
        ValueError: some start from each other in a circle.
    """
    order: dict[str, Arm] = {}
    for name in arms:
        way: list[str] = []
        for step in _way_back(name, arms):
            if step in way:
                circle = " -> ".join([*way[way.index(step) :], step])
                raise ValueError(
                    f"arms.{step}.from: found the circle {circle}, expected arms that begin at a "
                    "base model"
                )
            way.append(step)
        for step in reversed(way):
            order.setdefault(step, arms[step])
    return list(order.values())


def _way_back(name: str, arms: Mapping[str, Arm]) -> Iterator[str]:
    while name in arms:
        yield name
        name = arms[name].start


def check_stage_options(arm: Arm) -> None:
    """Refuse options that the stage of an arm would refuse.

    Raises:
        ConfigError: naming key, value and what was expected.
    """
    where, kind = f"arms.{arm.name}.options", OURS[arm.stage]
    own = {item.name for item in fields(kind)}
    for key in arm.options:
        require(where, key, key not in _OWN, "other keys: the experiment sets this one itself")
    check_known(where, arm.options, own | trl_fields(arm.stage).keys())
    try:
        stage_arguments(arm.stage, arm.options)
        if arm.stage == "grpo":
            prompts_of_a_batch(arm.options)
    except ValueError as error:
        raise ConfigError(f"{where}.{error}") from error
    keys = stage_keys(arm.stage, arm.options)
    check_values(arm.stage, where, {n: v for n, v in keys.items() if n not in own}, {})


def _compared(value: Any, arms: Mapping[str, Arm]) -> list[tuple[str, str]]:
    """Pairs of arms: as asked for, else each with the one before it."""
    names = list(arms)
    if value is None:
        return [pair for pair in zip(names, names[1:], strict=False) if _share(arms, pair)]
    require("compare", value, isinstance(value, list), "a list of pairs of arms")
    pairs = []
    for number, pair in enumerate(value):
        where = f"compare[{number}]"
        two = isinstance(pair, list) and len(pair) == 2 and pair[0] != pair[1]
        require(where, pair, two, "two arms")
        for name in pair:
            if not isinstance(name, str) or name not in arms:
                near = did_you_mean(str(name), names)
                raise ValueError(f"{where}: found {name!r}, expected one of {names}{near}")
        require(where, pair, _share(arms, pair), "arms with a training seed in common")
        pairs.append((pair[0], pair[1]))
    return pairs


def _share(arms: Mapping[str, Arm], pair: Sequence[str]) -> bool:
    """Whether two arms have a training seed in common; a base stands beside each."""
    first, second = (set(arms[name].seeds) for name in pair)
    return not first or not second or bool(first & second)
