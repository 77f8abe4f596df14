"""What `PolicyServer` and `RemotePolicy` tell each other; `wire` makes bytes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from roboalign_policy.core.policy.prediction import Prediction

#: Counts up when a message changes. The layout of `Fault`, and the keys ``kind`` and ``protocol``
#: of `Hello` and `Welcome`, stay for ever, so that two versions can tell each other so.
PROTOCOL = 2


@dataclass(frozen=True)
class Hello:
    """First message of a client; ``policy_hash`` is the one it expects, empty for any."""

    tool: str
    policy_hash: str = ""
    protocol: int = PROTOCOL


@dataclass(frozen=True)
class Welcome:
    """First message of a server: the policy that it runs, and its contract as YAML.

    Attributes:
        thinks, chunking, replan_after_steps: see `core.policy.protocol.Policy`.
    """

    tool: str
    policy_hash: str
    contract: str
    horizon: int
    dims: int
    thinks: bool
    chunking: str
    replan_after_steps: int
    protocol: int = PROTOCOL


@dataclass(frozen=True)
class Request:
    """An observation.

    Attributes:
        id: counts up by request.
        values: images (H, W, 3) uint8 and states (D,) float32 by stream key.
        instruction: the task in words.
        remaining: (R, A) float32; what is left of the chunk that is being executed, or None.
        thought: to act on, or None: the policy thinks for itself.
        frozen: actions of ``remaining`` that will have been executed when the answer is there.
    """

    id: int
    values: Mapping[str, np.ndarray]
    instruction: str
    remaining: np.ndarray | None = None
    thought: str | None = None
    frozen: int = 0


@dataclass(frozen=True)
class ThinkRequest:
    """An observation of which a thought alone is asked; ``id``, ... as of `Request`."""

    id: int
    values: Mapping[str, np.ndarray]
    instruction: str


@dataclass(frozen=True)
class ServerTimings:
    """Where the server's time went, s: waiting for the model, in the model, and all together."""

    queued_s: float
    model_s: float
    server_s: float


@dataclass(frozen=True)
class Reply:
    """The answer to the request of the same id."""

    id: int
    prediction: Prediction
    timings: ServerTimings


@dataclass(frozen=True)
class ThoughtReply:
    """The thought that answers the `ThinkRequest` of the same id."""

    id: int
    thought: str
    timings: ServerTimings


@dataclass(frozen=True)
class Fault:
    """Why there is no answer; ``id`` is the request's, None where none could be read."""

    id: int | None
    type: str
    message: str


Message = Hello | Welcome | Request | ThinkRequest | Reply | ThoughtReply | Fault
