"""The parts of a robot contract as frozen dataclasses; `contract.py` puts them together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roboalign_policy.core import keys
from roboalign_policy.core.contract.units import parse_unit


@dataclass(frozen=True)
class Qos:
    """Quality of service: reliability, durability and history depth (keep last)."""

    reliability: str
    durability: str
    depth: int


@dataclass(frozen=True)
class Align:
    """How samples are brought to the times of frames; see docs/contract.md."""

    method: str
    clock: str
    tolerance_s: float

    @property
    def tolerance_ns(self) -> int:
        """The tolerance in ns."""
        return round(self.tolerance_s * 1e9)


@dataclass(frozen=True)
class Field:
    """One dimension of a state: value = (number at path) * gain + offset, in `unit`."""

    name: str
    path: str
    unit: str
    gain: float = 1.0
    offset: float = 0.0
    limits: tuple[float, float] | None = None
    max_rate: float | None = None


@dataclass(frozen=True)
class Stream:
    """One observation: an image (with `shape`) or a state vector (with `fields`).

    Attributes:
        shape: of an image: height, width, 3 as the camera sends it, px. What the policy sees is
            `value_shape`.
        range: of an image of more than 8 bits: the numbers that become black and white, in the
            unit of its encoding.
        crop: of an image: x, y, width, height of the part that is kept, px as sent.
        resize: of an image: height, width of what the policy sees, px.
        max_frozen_s: of an image, how long the same pixels are believed while the arm is to move.
    """

    key: str
    topic: str
    type: str
    qos: Qos
    align: Align
    max_age_s: float
    shape: tuple[int, int, int] | None = None
    fields: tuple[Field, ...] = ()
    max_frozen_s: float | None = None
    range: tuple[float, float] | None = None
    crop: tuple[int, int, int, int] | None = None
    resize: tuple[int, int] | None = None

    @property
    def is_image(self) -> bool:
        """Whether the stream is an image."""
        return keys.is_image(self.key)

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of a value: (height, width, 3) after crop and resize, or (dimensions,)."""
        if self.shape is None:
            return (len(self.fields),)
        if self.resize is not None:
            return (*self.resize, 3)
        return self.shape if self.crop is None else (self.crop[3], self.crop[2], 3)

    @property
    def as_sent(self) -> bool:
        """Whether the values are the pictures that arrive: no range, crop or resize."""
        return self.range is None and self.crop is None and self.resize is None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of a state's dimensions, in order."""
        return tuple(field.name for field in self.fields)

    @property
    def max_age_ns(self) -> int:
        """The greatest age in ns."""
        return round(self.max_age_s * 1e9)


@dataclass(frozen=True)
class ActionDim:
    """One dimension of the action; 1.0 stands for `unit`, as in "0.05 m".

    A prediction at most `saturate` beyond the limits is brought back to them. `max_rate` (per s),
    `max_acceleration` (per s^2) and `max_per_second` (travel in any second) are in its unit.
    """

    name: str
    unit: str
    limits: tuple[float, float]
    saturate: float = 0.0
    max_rate: float | None = None
    max_acceleration: float | None = None
    max_per_second: float | None = None

    @property
    def scale(self) -> float:
        """How many of the SI unit 1.0 stands for: 0.05 for "0.05 m"."""
        return parse_unit(self.unit)[0]


@dataclass(frozen=True)
class CommandField:
    """One number of a command: action = field * gain + offset."""

    path: str
    gain: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Command:
    """One command message: which action dimensions stand where in it.

    `controllers`: nodes that take it; empty: those that listen when the gate is enabled.
    """

    topic: str
    type: str
    fields: dict[str, CommandField]
    qos: Qos
    align: Align
    frame_id: str = ""
    joint_names: tuple[str, ...] = ()
    time_from_start_s: float | None = None
    send: str = "step"
    controllers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """A message written when driving in place of the commands of the same dimensions.

    Attributes:
        kind: one of `keys.OUTPUT_KINDS`.
        topic: topic, or name of the action.
        qos: of the publisher.
        frame_id: of the header.
        stream: state stream with the present joints or the present pose.
        joint_names: joints of the message, in order.
        base, tip: links of the URDF between which the joints stand.
        urdf: file; None: the robot_description topic.
        gain, offset: gripper action = position * gain + offset.
        max_effort: of the gripper; N.
        controllers: as in `Command`.
    """

    kind: str
    topic: str
    qos: Qos
    frame_id: str | None = None
    stream: str | None = None
    joint_names: tuple[str, ...] = ()
    base: str | None = None
    tip: str | None = None
    urdf: str | None = None
    gain: float = 1.0
    offset: float = 0.0
    max_effort: float = 0.0
    controllers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Workspace:
    """Box, m in the base frame, in which the position of `stream` (fields x, y, z) must stay."""

    stream: str
    x: tuple[float, float]
    y: tuple[float, float]
    z: tuple[float, float]


@dataclass(frozen=True)
class Safety:
    """What the safety gate asks beyond the limits of the dimensions.

    Attributes:
        workspace: where the end effector may be; None: anywhere.
        first_pose: joint positions: greatest distance of a first target from the present
            position, in the unit of the dimension.
        blend_in_s: s; from the present pose to a new sender's targets.
    """

    workspace: Workspace | None
    first_pose: float
    blend_in_s: float


@dataclass(frozen=True)
class Action:
    """The action vector, the commands it becomes, and the bounds of both."""

    control_mode: str
    horizon: int
    dims: tuple[ActionDim, ...]
    commands: tuple[Command, ...]
    safe: str
    safety: Safety
    outputs: tuple[Output, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions, in order."""
        return tuple(dim.name for dim in self.dims)

    @property
    def low(self) -> np.ndarray:
        """(A,) float32: lower limits, in action units."""
        return np.array([dim.limits[0] for dim in self.dims], np.float32)

    @property
    def high(self) -> np.ndarray:
        """(A,) float32: upper limits, in action units."""
        return np.array([dim.limits[1] for dim in self.dims], np.float32)


@dataclass(frozen=True)
class TaskTopic:
    """Where the instruction arrives."""

    topic: str
    qos: Qos


@dataclass(frozen=True)
class PromptState:
    """One word and number of the state text: round(value * scale), or a word by bounds."""

    label: str
    stream: str
    field: str
    scale: float | None = None
    words: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class ExtraTopic:
    """A topic that is recorded and never seen by the policy."""

    topic: str
    type: str
    qos: Qos
