"""Parameters of sim_robot_node: name, default, unit, range and description of each, once."""

from __future__ import annotations

from dataclasses import dataclass

from roboalign_policy.core.parameters.declared import param


@dataclass(frozen=True)
class SimRobotParameters:
    """What sim_robot_node can be told; `config/sim_robot.yaml` repeats the defaults."""

    contract: str = param(
        "sim_panda", "robot contract (path or packaged name) whose commands are obeyed"
    )
    mode: str = param(
        "realtime",
        "realtime: steps at the contract's rate; lockstep: when every command for a stamp came",
        choices=("realtime", "lockstep"),
    )
    suite: str = param(
        "object", "suite of the first episode", choices=("object", "spatial", "goal", "long")
    )
    task: str = param("", "task of the first episode; empty: the first of the suite")
    seed: int = param(0, "seed of the first episode: scene, start pose and action noise", low=0)
    action_noise: float = param(
        0.0,
        "standard deviation of the noise between command and arm, in units of the action",
        low=0.0,
        high=1.0,
    )
    demonstrator: str = param(
        "none",
        "expert: the scripted expert commands the arm over the command topics",
        choices=("none", "expert"),
    )
    linger_steps: int = param(
        4,
        "expert: steps it goes on after success, so that release and retreat are in the recording",
        low=0,
        high=100,
    )
    command_timeout_s: float = param(
        0.5,
        "real time: a command older than this is not obeyed, the arm holds",
        unit="s",
        low=0.05,
        high=60.0,
    )
    republish_s: float = param(
        1.0,
        "lock step: an observation without answer is sent again after this time, for late nodes",
        unit="s",
        low=0.1,
        high=60.0,
    )
