"""What an action head is: its size, what it reads, how it is trained and asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

THOUGHT, LANGUAGE_THOUGHT, PROMPT = "thought", "language_thought", "prompt"
CONDITIONS = (THOUGHT, LANGUAGE_THOUGHT, PROMPT)
"""What the head reads behind the picture: the prompt for an action and the thought before it, the
prompt and the thought of the language question, or the prompt alone."""
EULER, MIDPOINT = "euler", "midpoint"
SOLVERS = (EULER, MIDPOINT)
PAPER_LAYER = 18 / 28
"""The 18th of Qwen2.5-VL-7B's 28 layers. Source: arXiv 2603.21341."""


@dataclass(frozen=True)
class RobotShape:
    """What one robot's states and actions look like.

    Attributes:
        name: of its contract.
        state_dims: numbers of its state, at least 1.
        action_dims: numbers of its action, at least 1.
    """

    name: str
    state_dims: int
    action_dims: int


@dataclass(frozen=True)
class FlowHeadConfig:
    """An action head; the defaults are those for roboalign-tiny, `large` has a 7B's.

    Attributes:
        robots: of each robot its encoders and its decoder; at least one.
        horizon: actions of a chunk, T.
        context_width: width of the hidden states that it reads: the model's.
        width: of its own tokens.
        blocks: transformer blocks.
        heads: attention heads; `width` is a multiple.
        mlp_ratio: inner width of a block's MLP over `width`.
        layer: whose hidden states it reads: a fraction of the depth, or a number of layers; 0 is
            the embeddings, the depth is the last layer with the final norm.
        condition: one of `CONDITIONS`.
        state_dropout: share of training samples that do not see the state.
        context_dropout: dropout of the attention to the context in training.
        time_scale, beta_alpha, beta_beta: in training the time of the flow is
            `time_scale * (1 - u)`, u ~ Beta(beta_alpha, beta_beta); 0 is noise, 1 the actions.
        steps: of the solver.
        solver: one of `SOLVERS`.
        given_prefix: most actions at the beginning of a chunk that it was taught to be given.
        replan_after_steps: how many of a chunk's actions to drive before the next one, where
            nobody says otherwise; 0: all.

    Source:
        state dropout and four Euler steps: GR00T N1.5 and N1.6 (`flow_matching_action_head`);
        distribution of the time: pi0 (arXiv 2410.24164, appendix B).
    """

    robots: tuple[RobotShape, ...]
    horizon: int
    context_width: int
    width: int = 128
    blocks: int = 3
    heads: int = 4
    mlp_ratio: float = 4.0
    layer: float | int = PAPER_LAYER
    condition: str = THOUGHT
    state_dropout: float = 0.1
    context_dropout: float = 0.0
    time_scale: float = 0.999
    beta_alpha: float = 1.5
    beta_beta: float = 1.0
    steps: int = 4
    solver: str = EULER
    given_prefix: int = 0
    replan_after_steps: int = 0

    @classmethod
    def large(
        cls, robots: tuple[RobotShape, ...], horizon: int, context_width: int, **given: Any
    ) -> FlowHeadConfig:
        """A head for a model of 7 or 8 billion parameters, some 0.9 billion of its own.

        Source:
            GR00T N1.5, `diffusion_model_cfg`: 16 layers of 32 heads of 48, dropout 0.2.
        """
        size = {"width": 1536, "blocks": 16, "heads": 32, "context_dropout": 0.2}
        return cls(robots, horizon, context_width, **{**size, **given})

    def __post_init__(self) -> None:
        """Refuse impossible values; ValueError names key, value and range."""
        if not self.robots:
            raise ValueError("robots: found none, expected at least one")
        names = [robot.name for robot in self.robots]
        if len(set(names)) != len(names):
            raise ValueError(f"robots: found {', '.join(names)}, expected every name once")
        for robot in self.robots:
            for key in ("state_dims", "action_dims"):
                value = getattr(robot, key)
                fits = _is_whole(value) and value >= 1
                _require(f"robots.{robot.name}.{key}", value, fits, "a whole number, 1 or more")
        for key in ("horizon", "context_width", "width", "blocks", "heads", "steps"):
            value = getattr(self, key)
            _require(key, value, _is_whole(value) and value >= 1, "a whole number, 1 or more")
        for key in ("given_prefix", "replan_after_steps"):
            _require(key, getattr(self, key), _is_whole(getattr(self, key)), "a whole number")
        for key in (
            "mlp_ratio", "beta_alpha", "beta_beta", "state_dropout", "context_dropout",
            "time_scale", "layer",
        ):  # fmt: skip
            value = getattr(self, key)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            _require(key, value, is_number, "a number")
        _require("width", self.width, self.width % self.heads == 0, f"a multiple of {self.heads}")
        for key in ("mlp_ratio", "beta_alpha", "beta_beta"):
            _require(key, getattr(self, key), getattr(self, key) > 0, "a number above 0")
        for key in ("state_dropout", "context_dropout"):
            _require(key, getattr(self, key), 0 <= getattr(self, key) < 1, "0 or more, below 1")
        _require("time_scale", self.time_scale, 0 < self.time_scale <= 1, "above 0, at most 1")
        is_layer = self.layer >= 0 and (isinstance(self.layer, int) or self.layer <= 1)
        expected = "a whole number of layers, or a fraction of the depth from 0.0 to 1.0"
        _require("layer", self.layer, is_layer, expected)
        _require("condition", self.condition, self.condition in CONDITIONS, _one_of(CONDITIONS))
        _require("solver", self.solver, self.solver in SOLVERS, _one_of(SOLVERS))
        fits = 0 <= self.given_prefix < self.horizon
        _require("given_prefix", self.given_prefix, fits, f"0 to {self.horizon - 1}")
        fits = 0 <= self.replan_after_steps <= self.horizon
        _require("replan_after_steps", self.replan_after_steps, fits, f"0 to {self.horizon}")

    @property
    def state_dims(self) -> int:
        """Numbers of a state, padded to the robot with most."""
        return max(robot.state_dims for robot in self.robots)

    @property
    def action_dims(self) -> int:
        """Numbers of an action, padded to the robot with most."""
        return max(robot.action_dims for robot in self.robots)

    def layer_of(self, depth: int) -> int:
        """How many of a model's layers are behind the hidden states that the head reads.

        Raises:
            ValueError: the model has fewer layers.
        """
        layer = self.layer if isinstance(self.layer, int) else round(self.layer * depth)
        _require("layer", layer, layer <= depth, f"at most {depth}, the layers of the model")
        return layer

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {**asdict(self), "robots": [asdict(robot) for robot in self.robots]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FlowHeadConfig:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: a key is missing, unknown, or has an impossible value.
        """
        known = {item.name for item in fields(cls)}
        # Heads of before these keys do not tell: they are not given a beginning.
        data = {"given_prefix": 0, "replan_after_steps": 0, **data}
        if data.keys() != known:
            missing, more = sorted(known - data.keys()), sorted(data.keys() - known)
            found = f"no {', '.join(missing)}" if missing else f"unknown {', '.join(more)}"
            raise ValueError(f"action head: found {found}, expected {', '.join(sorted(known))}")
        try:
            robots = tuple(RobotShape(**robot) for robot in data["robots"])
            return cls(**{**data, "robots": robots})
        except TypeError as error:
            raise ValueError(f"action head: {error}") from error


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(words: tuple[str, ...]) -> str:
    return f"one of {', '.join(words)}"


def _require(key: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{key}: found {value!r}, expected {expected}")
