"""What runs of the three stages are told: this suite's options, their defaults and their bounds.

No torch, so that help and refusals come at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from roboalign_policy.models.flow_head.config import (
    CONDITIONS,
    EULER,
    PAPER_LAYER,
    PROMPT,
    SOLVERS,
    THOUGHT,
)
from roboalign_training.learning.backbone_arguments import BackboneArguments
from roboalign_training.learning.choice import HELD_OUT, RULES
from roboalign_training.learning.option import option as _option
from roboalign_training.learning.option import require
from roboalign_training.learning.rewards import DEFAULT_WEIGHTS, REWARDS
from roboalign_training.learning.sources import SOURCES, SourceShare
from roboalign_training.shared.fields import mapping_text
from roboalign_training.shared.run_layout import ConfigError
from roboalign_training.thoughts.style import PLACE, STYLES

__all__ = [
    "ConfigError", "GrpoArguments", "RunArguments", "SftArguments", "Stopped", "VlaArguments",
    "require",
]  # fmt: skip

HELD_OUT_SHARE, MOST_HELD_OUT = 10, 16
GRASP_WEIGHT = 0.1
MOST_CROP = 0.5
"""Share of a picture; of one that loses so much at either side nothing is left."""
MOST_SCENE_QUESTIONS = 800_000
"""Those of all scenes of a seed: `pretraining.grounding_source`."""
GRPO_PROMPTS = 128
_DATA, _MODEL, _LEARNT, _RUN = "data", "model", "what is learnt", "the run"
_READ, _HEAD = "what the head reads", "the head"
SIZES = ("auto", "tiny", "large")
OWN_THOUGHTS, LONGEST = 0.3, 48
"""Share of the frames read with the model's own thought, and most tokens of one."""
LARGE_FROM = 1024
"""Hidden size from which a head is large unless it is said."""
_KEPT = "which policy is kept"


class Stopped(Exception):
    """The run was asked to stop and can be resumed; what it had is saved."""


class Diverged(Exception):
    """What was trained is not finite any more; nothing was written of it."""


@dataclass
class RunArguments:
    """Data, base model and the ends of a run; the help of each field says what it is."""

    dataset: str = _option(
        "", _DATA, "Folder of the data set; with --bags, by default `data` in the run's folder.",
        metavar="FOLDER",
    )  # fmt: skip
    bags: list[str] = _option(
        [], _DATA, "Bags, or folders of bags, that are added to the data set first.",
        metavar="BAG",
    )  # fmt: skip
    contract: str = _option(
        "", _DATA, "Robot contract of --bags, path or packaged name; by default the one in them."
    )
    base: str = _option("roboalign-tiny", _MODEL, "Packaged, folder or hub name to start from.")
    held_out_episodes: int | None = _option(
        None, _DATA, "Whole episodes kept out of training, to score the model on.",
        shown=f"a tenth of them, 1 to {MOST_HELD_OUT}",
    )  # fmt: skip
    dev_frames: int = _option(128, _DATA, "Frames of the held-out episodes that are scored.")
    augment_crop: float = _option(
        0.0, _DATA, "Light augmentation of training pictures: greatest share of a picture that is "
        "cut off each side before it is brought back to its size; 0: none."
    )  # fmt: skip
    augment_colour: float = _option(
        0.0, _DATA, "Light augmentation of training pictures: greatest relative change of "
        "brightness, contrast and saturation; 0: none."
    )  # fmt: skip
    max_seconds: float | None = _option(
        None, _RUN, "End of training after this many seconds, s; the learning rate follows."
    )
    save_minutes: float = _option(2.0, _RUN, "Minutes between checkpoints to resume from, min.")
    resume: bool | None = _option(
        None, _RUN, "Go on with the unfinished run in the folder also where --max_steps, "
        "--max_seconds or --num_train_epochs are others; with the same options it is gone on with "
        "in any case.",
    )  # fmt: skip
    overwrite: bool = _option(False, _RUN, "Remove the run that is in the folder, and begin anew.")
    strict: bool = _option(
        False, _RUN, "End with status 3 when anything of the data was left out of training."
    )

    def __post_init__(self) -> None:
        if not self.dataset and not self.bags:
            raise ConfigError(
                "dataset: found '', expected the folder of a data set, or bags to make one of"
            )
        least = {"held_out_episodes": 1, "dev_frames": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            require(name, value, value is None or value >= bound, f"at least {bound}")
        crop, colour = self.augment_crop, self.augment_colour
        require("augment_crop", crop, 0 <= crop < MOST_CROP, f"from 0 to below {MOST_CROP:g}")
        require("augment_colour", colour, 0 <= colour < 1, "from 0 to below 1")
        seconds = self.max_seconds
        require("max_seconds", seconds, seconds is None or seconds > 0, "above 0")
        require("save_minutes", self.save_minutes, self.save_minutes > 0, "above 0")

    @property
    def augments(self) -> bool:
        """Whether training pictures are changed at random."""
        return bool(self.augment_crop or self.augment_colour)

    def record(self) -> dict[str, Any]:
        """The options as `run.json` has them: a mapping is one text, so that it counts whole."""
        values = asdict(self).items()
        return {n: mapping_text(v) if isinstance(v, dict) else v for n, v in values}

    def held_out_of(self, episodes: int) -> int:
        """How many of a data set's episodes are held out: as asked for, else as many as fit.

        Raises:
            ConfigError: so many cannot be held out.
        """
        if episodes < 2:
            raise ConfigError(
                f"dataset: found {episodes} episode{'s' if episodes != 1 else ''}, expected 2 or "
                "more: one is held out to score the model on"
            )
        if self.held_out_episodes is None:
            return max(1, min(MOST_HELD_OUT, episodes // HELD_OUT_SHARE))
        require(
            "held_out_episodes",
            self.held_out_episodes,
            self.held_out_episodes < episodes,
            f"1 to {episodes - 1}: the data set has {episodes} episodes",
        )
        return self.held_out_episodes


@dataclass
class SftArguments(RunArguments):
    """Options of the training data; the help of each field describes it."""

    weight_act: float = _option(0.05, _LEARNT, "Share of action samples without a thought.")
    weight_think: float = _option(0.7, _LEARNT, "Share of action samples after a thought.")
    weight_scene: float = _option(0.15, _LEARNT, "Share of questions about rendered scenes.")
    weight_grasp: float | None = _option(
        None, _LEARNT, "Share of questions about the demonstration's grasp.",
        shown=f"{GRASP_WEIGHT}; 0 where the demonstrations show no place of a grasp",
    )  # fmt: skip
    thought: str = _option(
        PLACE, _LEARNT, "What thoughts say: the next place; with its object, by name; or how much "
        "is done and what is worked at (docs/training.md).",
        choices=STYLES,
    )  # fmt: skip
    sources: dict[str, Any] = _option(
        {}, _LEARNT, "Shares of further sources by name, or each with its options: "
        "'{name: {share: 0.1, ...}}'; docs/training.md.",
        metavar="'{NAME: X, ...}'",
    )  # fmt: skip
    scene_questions: int = _option(4096, _LEARNT, "How many different scene questions there are.")
    freeze_vision: bool = _option(True, _MODEL, "Keep the vision encoder as it is.")
    muon_learning_rate: float = _option(
        2e-3, _MODEL, "Learning rate of Muon on the weight matrices; 0: AdamW for all."
    )
    max_answer_tokens: int = _option(
        160, _LEARNT, "Longest answer when the result is scored, tokens."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = 0, MOST_SCENE_QUESTIONS
        asked = self.scene_questions
        require("scene_questions", asked, least <= asked <= most, f"{least} to {most}")
        require(
            "muon_learning_rate",
            self.muon_learning_rate,
            0 <= self.muon_learning_rate < 1,
            "0 or a learning rate below 1",
        )
        require(
            "max_answer_tokens", self.max_answer_tokens, self.max_answer_tokens >= 1, "at least 1"
        )
        require("thought", self.thought, self.thought in STYLES, f"one of {', '.join(STYLES)}")
        shares = self.shares()
        # In one form and order: another spelling is no other configuration.
        self.sources = {
            name: {"share": item.weight, **dict(sorted(item.options.items()))}
            for name, item in shares.items()
            if name in self.sources
        }
        require(
            "scene_questions",
            self.scene_questions,
            self.scene_questions >= 1 or not self.weight_scene,
            f"at least 1, or --weight_scene 0 (found {self.weight_scene:g})",
        )

    def shares(self, grasps: bool = True) -> dict[str, SourceShare]:
        """The shares of the mixture, by the name of the source, in the order of `SOURCES`.

        Args:
            grasps: whether the demonstrations show where the arm grasps.

        Raises:
            ConfigError: a share cannot be one, or grasps were asked for and there are none.
        """
        share = self.weight_grasp
        if share is None:
            share = GRASP_WEIGHT if grasps else 0.0
        require(
            "weight_grasp",
            share,
            grasps or not share,
            "0: these demonstrations show no place of a grasp (no x y z in the contract's "
            "prompt.state, or no gripper that closes)",
        )
        own = {
            "act": SourceShare("weight_act", self.weight_act),
            "think": SourceShare("weight_think", self.weight_think),
            "scene": SourceShare(
                "weight_scene", self.weight_scene, {"questions": self.scene_questions}
            ),
            "grasp": SourceShare("weight_grasp", share),
        }
        further = {name: _source_share(name, given) for name, given in self.sources.items()}
        known = [name for name in SOURCES if name not in own]
        for name in further:
            if name in own:
                key = own[name].key
                raise ConfigError(f"sources: found {name!r}, expected its share as {key}")
            _require_name("sources", name, known)
        found = {**own, **further}
        for item in found.values():
            _require_weight(item.key, item.weight)
        if not any(item.weight for item in found.values()):
            raise ConfigError("weights: found only zeros, expected at least one above zero")
        return {name: found[name] for name in SOURCES if name in found}


def _source_share(name: str, given: Any) -> SourceShare:
    """What the configuration says about a further source: its share, or that and options."""
    key = f"sources.{name}"
    options = dict(given) if isinstance(given, Mapping) else {"share": given}
    share = options.pop("share", None)
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    expected = "its share, a number, or {share: 0.1} with the source's options"
    require(key, given, is_number, expected)
    return SourceShare(key, float(share), options)


@dataclass
class GrpoArguments(RunArguments):
    """Which frames are prompts, and when the model is scored; the help says what each field is."""

    base: str = _option("out/sft/policy", _MODEL, "Folder of the SFT policy to start from.")
    samples: int | None = _option(
        None, _LEARNT, "Number of prompts: frames drawn from the training episodes.",
        shown=f"{GRPO_PROMPTS}, or all frames where there are fewer",
    )  # fmt: skip
    think: bool = _option(
        True, _LEARNT, "Whether the prompts ask for a thought before the answer."
    )
    rewards: dict[str, float] = _option(
        DEFAULT_WEIGHTS, _LEARNT, "What an answer is rewarded for: names and weights of "
        f"{', '.join(REWARDS)}; of weight 0: measured and not learnt from.",
        metavar="'{NAME: X, ...}'",
    )  # fmt: skip
    dev_every: int = _option(
        5, _LEARNT, "Optimiser steps between two scorings on held-out frames."
    )
    choose: str = _option(
        HELD_OUT, _KEPT, "What decides whether the base or the best step is kept: held-out "
        "frames, or development episodes driven by both in the simulator.",
        choices=RULES,
    )  # fmt: skip
    develop_episodes: int = _option(
        12, _KEPT, "Development episodes a suite, which base and best step both drive (--choose "
        "driven).",
    )  # fmt: skip
    replan_after_steps: int = _option(
        0, _KEPT, "Steps of each chunk that both drive before they ask for the next; 0: all "
        "(--choose driven).",
    )  # fmt: skip
    workers: int = _option(2, _KEPT, "Simulators side by side (--choose driven).")

    def __post_init__(self) -> None:
        super().__post_init__()
        require("samples", self.samples, self.samples is None or self.samples >= 1, "at least 1")
        for name in ("dev_every", "develop_episodes", "workers"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        require(
            "replan_after_steps",
            self.replan_after_steps,
            self.replan_after_steps >= 0,
            "0 or more",
        )
        require("choose", self.choose, self.choose in RULES, f"one of {', '.join(RULES)}")
        check_weights("rewards", self.rewards, REWARDS)
        # In one order: that of the mapping is no other configuration.
        self.rewards = {n: float(self.rewards[n]) for n in REWARDS if n in self.rewards}

    def samples_of(self, frames: int, least: int) -> int:
        """How many prompts are drawn: as asked for, else as many as there are.

        Args:
            frames: frames of the training episodes.
            least: prompts of one batch of generations.

        Raises:
            ConfigError: so many cannot be drawn, or they make no batch.
        """
        count = min(GRPO_PROMPTS, frames) if self.samples is None else self.samples
        require("samples", count, count <= frames, f"at most {frames}, the frames there are")
        require(
            "samples",
            count,
            count >= least,
            f"at least {least}, the prompts of one batch of generations (generation_batch_size / "
            "num_generations; a smaller --per_device_train_batch_size asks for fewer)",
        )
        return count


@dataclass
class VlaArguments(BackboneArguments, RunArguments):
    """What the action head is and reads; the help of each field says what it is."""

    base: str = _option(
        "out/grpo/policy", _MODEL, "Folder of the policy whose model the head reads: of SFT or "
        "GRPO."
    )  # fmt: skip
    condition: str = _option(
        THOUGHT, _READ, "What the head reads behind the picture: the prompt for an action and the "
        "thought before it, the question for a thought and its answer, or the prompt alone.",
        choices=CONDITIONS,
    )  # fmt: skip
    layer: float = _option(
        PAPER_LAYER, _READ, "Whose hidden states it reads: up to 1 a fraction of the depth, above "
        "it a number of layers.",
        shown="18 of 28 layers, as the paper",
    )  # fmt: skip
    own_thoughts: float = _option(
        OWN_THOUGHTS, _READ, "Share of the frames that are read with the model's own thought "
        "instead of the demonstration's.",
    )  # fmt: skip
    max_think_tokens: int = _option(LONGEST, _READ, "Longest thought of the model's own, tokens.")
    features: str = _option(
        "", _READ, "Folder to keep the hidden states in, which other runs may read.",
        metavar="FOLDER", shown="features in the run's folder",
    )  # fmt: skip
    read_batch: int = _option(64, _READ, "Frames that the model reads at once.")
    size: str = _option(
        "auto", _HEAD, "Size of the head: tiny (3 blocks of width 128), large (16 of 1,536), or "
        "by the width of the model.",
        choices=SIZES,
    )  # fmt: skip
    width: int | None = _option(None, _HEAD, "Width of the head's tokens.", shown="by --size")
    blocks: int | None = _option(None, _HEAD, "Transformer blocks.", shown="by --size")
    heads: int | None = _option(None, _HEAD, "Attention heads.", shown="by --size")
    steps: int = _option(4, _HEAD, "Steps from noise to actions when it drives.")
    solver: str = _option(EULER, _HEAD, "How the steps are taken.", choices=SOLVERS)
    samples: int | None = _option(
        None, _LEARNT, "Frames of the training episodes that it is trained on.", shown="all"
    )
    noise_draws: int = _option(2, _LEARNT, "Draws of noise on each frame of a batch.")
    state_dropout: float = _option(0.1, _LEARNT, "Share of the draws that do not see the state.")
    given_prefix: int = _option(
        0, _LEARNT, "Most actions at a chunk's beginning that are given, as with training-time "
        "real-time chunking; 0: none.",
    )  # fmt: skip
    replan_after_steps: int | None = _option(
        None, _LEARNT, "Steps of a chunk that the policy drives before the next one, where nobody "
        "says otherwise; the horizon: all.",
        shown="half of the horizon",
    )  # fmt: skip
    ema_decay: float = _option(
        0.999, _LEARNT, "Decay of the moving average of the weights, which drives."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_backbone()
        require("condition", self.condition, self.condition in CONDITIONS, _one_of(CONDITIONS))
        whole = self.layer <= 1 or float(self.layer).is_integer()
        expected = "from 0 to 1, a fraction of the depth, or a whole number of layers"
        require("layer", self.layer, 0 <= self.layer < math.inf and whole, expected)
        require("own_thoughts", self.own_thoughts, 0 <= self.own_thoughts <= 1, "from 0 to 1")
        if self.condition == PROMPT:
            expected = "{}, the default: with condition prompt no thought is read"
            share, longest = self.own_thoughts, self.max_think_tokens
            fits = share in (0.0, OWN_THOUGHTS)
            require("own_thoughts", share, fits, expected.format(OWN_THOUGHTS))
            require("max_think_tokens", longest, longest == LONGEST, expected.format(LONGEST))
        require("size", self.size, self.size in SIZES, _one_of(SIZES))
        require("solver", self.solver, self.solver in SOLVERS, _one_of(SOLVERS))
        for name in ("max_think_tokens", "read_batch", "steps", "noise_draws"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("width", "blocks", "heads", "samples"):
            value = getattr(self, name)
            require(name, value, value is None or value >= 1, "at least 1")
        require("given_prefix", self.given_prefix, self.given_prefix >= 0, "at least 0")
        steps = self.replan_after_steps
        require("replan_after_steps", steps, steps is None or steps >= 1, "at least 1")
        for name in ("state_dropout", "ema_decay"):
            value = getattr(self, name)
            require(name, value, 0 <= value < 1, "from 0 to below 1")

    def is_large(self, hidden_size: int) -> bool:
        """Whether the head is that of a 7B, for a model of some hidden size."""
        return self.size == "large" or (self.size == "auto" and hidden_size >= LARGE_FROM)

    def head_options(self) -> dict[str, Any]:
        """The options of `flow_head.config.FlowHeadConfig` that were given."""
        names = ("condition", "state_dropout", "steps", "solver", "width", "blocks", "heads",
                 "given_prefix", "replan_after_steps")  # fmt: skip
        found = {name: value for name in names if (value := getattr(self, name)) is not None}
        return {**found, "layer": self.layer if self.layer <= 1 else int(self.layer)}


def check_weights(key: str, given: Mapping[str, float], known: Iterable[str]) -> None:
    """Refuses weights by name of which nothing can be made.

    Raises:
        ConfigError: a name is not known, a weight is negative or not finite, or none is above 0.
    """
    for name, weight in given.items():
        _require_name(key, name, known)
        _require_weight(f"{key}.{name}", weight)
    if not any(given.values()):
        raise ConfigError(
            f"{key}: found {mapping_text(given)}, expected at least one weight above 0"
        )


def _one_of(words: Iterable[str]) -> str:
    return f"one of {', '.join(words)}"


def _require_weight(key: str, weight: float) -> None:
    require(key, weight, 0.0 <= weight < math.inf, "a finite number, 0 or more")


def _require_name(key: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        expected = f"names of {', '.join(known)}" if known else "none: there are no others"
        raise ConfigError(f"{key}: found {name!r}, expected {expected}{hint}")
