"""What the time of an answer costs: real-time driving on the simulated arm, in virtual time.

    python bench/latency.py OUT --policy FOLDER --answer-s 0.1 0.2 0.4

No ROS and no clock: images, answers and ticks come at the times that are given here, so that the
same call gives the same figures on any machine. The gate is left out. Arms drive the same seeds
(development seeds unless --seed says otherwise). An episode may take as many driven steps as in
lock step, where the world rests while the model thinks; told beside is how many succeed also when
the time of the arm's rests counts. OUT/results.jsonl holds a line an episode; a repeated call
drives what is missing, and is refused where the results there were made in another way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import binomtest

from roboalign_policy.core.candidate import CandidateKind
from roboalign_policy.core.drive.chunk_buffer import ActionSpace
from roboalign_policy.core.drive.cross_fade import make_fade
from roboalign_policy.core.drive.drive import Drive
from roboalign_policy.core.drive.gate_watch import NO_GATE
from roboalign_policy.core.drive.pacing import Pace
from roboalign_policy.core.drive.realtime import Realtime, Seen
from roboalign_policy.core.drive.setpoints import make_set_points
from roboalign_policy.core.drive.types import Asked, DriveSettings
from roboalign_policy.core.frames.frames import Frame
from roboalign_policy.core.policy.accept import ChunkError
from roboalign_policy.core.policy.options import CHUNKING, FRESH, PolicyOptions
from roboalign_policy.models.open_policy import open_policy
from roboalign_policy.models.policy import MLLMPolicy
from roboalign_policy.sim import SUITES, make_env
from roboalign_training.evaluate.closed_loop import DrivenEpisode, episodes_of_suites
from roboalign_training.evaluate.seeds import DEVELOPMENT_SEED
from roboalign_training.shared.differences import differences
from roboalign_training.shared.statistics import wilson_interval

TICK_S = 0.001
LOCKSTEP = "lockstep"
WAY = (
    "chunking", "decoder", "blend_steps", "overtake_steps", "replan_after_steps", "transport_s"
)  # fmt: skip


def values_of(seen) -> dict[str, np.ndarray]:
    """Values of a frame by stream key, as the contract `sim_panda` has them."""
    pose = np.concatenate([seen.ee_position, Rotation.from_rotvec(seen.ee_rotvec).as_quat()])
    return {
        "image.front": seen.images["front"],
        "state.ee": pose.astype(np.float32),
        "state.gripper": np.array([seen.gripper_width], np.float32),
        "state.joints": np.asarray(seen.joints, np.float32),
    }


class Arm:
    """The simulated arm with its own clock: it takes the command in force at each of its steps."""

    def __init__(self, episode: DrivenEpisode, period_s: float, transport_s: float) -> None:
        """Reset; ``transport_s``: s from an image's stamp to its arrival."""
        self.env = make_env(episode.suite, episode.task, episode.seed)
        self._period_s, self._transport_s = period_s, transport_s
        self.seen, self.stamp_s = self.env.reset(), 0.0
        self.arrives_s: float | None = transport_s
        self._next_s = period_s
        self._command = np.array([0.0] * 6 + [-1.0])

    def command(self, values: np.ndarray) -> None:
        """Take a command; it is in force until the next one."""
        self._command = values

    def pass_to(self, now_s: float) -> bool:
        """Let time pass; whether an image arrives now."""
        if now_s >= self._next_s - TICK_S / 2:
            self._pending, self._pending_s = self.env.step(self._command), self._next_s
            self.arrives_s = self._next_s + self._transport_s
            self._next_s += self._period_s
        if self.arrives_s is not None and now_s >= self.arrives_s - TICK_S / 2:
            self.arrives_s = None
            if now_s > self._transport_s + TICK_S:
                self.seen, self.stamp_s = self._pending, self._pending_s
            return True
        return False


def drive_lockstep(policy: MLLMPolicy, episode: DrivenEpisode, after: int) -> dict:
    """``after`` steps of a chunk, then the next one, while the world waits."""
    env = make_env(episode.suite, episode.task, episode.seed)
    seen, limit = env.reset(), env.task.max_steps
    steps, chunks = 0, 0
    while not env.success() and steps < limit:
        prediction = policy.act(values_of(seen), env.instruction)
        chunks += 1
        if prediction.actions is None:
            break
        for action in prediction.actions[:after]:
            seen = env.step(action)
            steps += 1
            if env.success() or steps >= limit:
                break
    success = bool(env.success())
    return {
        "success": success, "in_time": success, "steps": steps, "driven": steps, "chunks": chunks
    }  # fmt: skip


def drive_realtime(
    policy: MLLMPolicy,
    episode: DrivenEpisode,
    mode: str,
    answer_s: float,
    options: argparse.Namespace,
) -> dict:
    """Drives as policy_node does, with answers that take ``answer_s``."""
    contract = policy.contract
    action, period_s = contract.action, 1.0 / contract.rate_hz
    space = ActionSpace(action.names, action.low, action.high, policy.horizon)
    settings = DriveSettings(
        lockstep=False, step_s=period_s, mode=mode, overtake_steps=options.overtake_steps,
        replan_after_steps=options.replan_after_steps or policy.replan_after_steps,
    )  # fmt: skip
    fade = make_fade(
        action.names, action.control_mode, options.blend_steps, action.low, action.high
    )
    drive = Drive(space, settings, None if settings.sync else fade)
    drive.activate()
    pace = Pace(period_s, 1)
    realtime = Realtime(drive, make_set_points(contract, 1), pace, guarded=False)
    arm = Arm(episode, period_s, options.transport_s)
    limit, now_s, next_tick_s, pending = arm.env.task.max_steps, 0.0, 0.0, None
    moved_s, driven_s = None, 0.0
    realtime.start(arm.env.instruction, 0.0, 0, patient=True)

    def see() -> Seen:
        taken_ns = round(arm.stamp_s * 1e9)
        frame = Frame(round(now_s * 1e9), values_of(arm.seen), {})
        return Seen(frame, taken_ns, taken_ns)

    def submit(asked: Asked) -> None:
        nonlocal pending
        if (request := asked.chunk) is not None:
            prediction = policy.act(
                request.values, request.instruction, request.remaining, frozen=request.frozen
            )
            pending = (now_s + answer_s, request, prediction)

    def tick() -> None:
        nonlocal next_tick_s, moved_s
        next_tick_s = now_s + 1.0 / pace.rate_hz
        result = realtime.tick(NO_GATE, see, now_s)
        output = result.output
        if output is not None and output.kind in (CandidateKind.MOTION, CandidateKind.HOLD):
            arm.command(output.data[0])
            moved_s = now_s if moved_s is None else moved_s
        submit(result.asked)

    while True:
        if arm.pass_to(now_s):
            submit(realtime.image(NO_GATE, see, now_s))
            realtime.settle()
            if realtime.begins(now_s):
                tick()
            # As in lock step: so many driven steps, and the image that shows the last one.
            driven_s = now_s if drive.run_steps < limit else driven_s
            if arm.env.success() or now_s - driven_s >= 2 * period_s:
                break
        if pending and now_s >= pending[0] - TICK_S / 2:
            (_, request, prediction), pending = pending, None
            with contextlib.suppress(ChunkError):  # refused: the arm holds, and asks again
                realtime.answer(request, prediction, round(now_s * 1e9), answer_s, now_s)
            realtime.settle()
            if realtime.ready(now_s):
                tick()
        if now_s >= next_tick_s - TICK_S / 2:
            tick()
        now_s += TICK_S
    steps = round((now_s - (moved_s or 0.0)) / period_s)
    success = bool(arm.env.success())
    return {
        "success": success, "in_time": success and steps <= limit, "steps": steps,
        "driven": drive.run_steps, "chunks": drive.counters.chunks, "rests": realtime.underruns,
    }  # fmt: skip


def arms_of(options: argparse.Namespace) -> list[tuple[str, float]]:
    """Mode and time of an answer of each arm; lock step has none."""
    timed = [m for m in options.modes if m != LOCKSTEP]
    arms = [(LOCKSTEP, 0.0)] if LOCKSTEP in options.modes else []
    return arms + [(mode, seconds) for mode in timed for seconds in options.answer_s]


def table(records: list[dict], arms: list[tuple[str, float]]) -> str:
    """Successes by arm with Wilson 95 % intervals; against lock step where that is among them."""
    by_arm = {
        arm: {(r["suite"], r["task"], r["seed"]): r for r in records if arm == _arm(r)}
        for arm in arms
    }
    base = by_arm.get((LOCKSTEP, 0.0), {})
    lines = []
    for (mode, answer_s), found in by_arm.items():
        won, n = sum(r["success"] for r in found.values()), len(found)
        low, high = wilson_interval(won, n)
        in_time = sum(r["in_time"] for r in found.values())
        line = f"{mode:12} {answer_s:5.3f} s  {won}/{n} ({100 * low:.0f}-{100 * high:.0f} %)"
        line += f", waiting counted {in_time}"
        if base and mode != LOCKSTEP:
            pairs = [(r["success"], base[key]["success"]) for key, r in found.items()]
            more, less = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
            p = binomtest(more, more + less, 0.5).pvalue if more + less else 1.0
            line += f"  only here {more}, only in lock step {less}, McNemar (exact) p = {p:.3f}"
        lines.append(line)
    return "\n".join(lines)


def _arm(record: dict) -> tuple[str, float]:
    return record["mode"], record["answer_s"]


def main() -> int:
    """Drive, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--policy", required=True, help="folder of the checkpoint")
    parser.add_argument("--modes", nargs="+", default=[LOCKSTEP, "sync", "async_blend"])
    parser.add_argument("--answer-s", nargs="+", type=float, default=[0.1])
    parser.add_argument("--chunking", choices=CHUNKING, default=FRESH)
    parser.add_argument("--decoder", choices=("auto", "fast", "flow"), default="auto")
    parser.add_argument("--blend-steps", type=int, default=0)
    parser.add_argument("--overtake-steps", type=int, default=1)
    parser.add_argument("--replan-after-steps", type=int, default=0)
    parser.add_argument("--transport-s", type=float, default=0.015, help="s, image to node")
    parser.add_argument("--per-suite", type=int, default=25, help="episodes a suite")
    parser.add_argument("--suites", nargs="+", default=list(SUITES), choices=list(SUITES))
    parser.add_argument("--seed", type=int, default=DEVELOPMENT_SEED, help="the first")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    episodes = episodes_of_suites(
        {name: SUITES[name] for name in options.suites}, options.per_suite, options.seed
    )
    path = options.out / "results.jsonl"
    records = [json.loads(line) for line in path.open()] if path.is_file() else []
    torch.set_num_threads(1)
    made = PolicyOptions(chunking=options.chunking, decoder=options.decoder)
    policy = open_policy(options.policy, options=made)
    way = {"policy_hash": policy.hash, **{name: getattr(options, name) for name in WAY}}
    if other := [
        text for r in records for text in differences(r.get("way", {}), way, all_keys=True)
    ]:
        parser.error(f"{path}: made in another way ({other[0]}): choose another OUT")
    done = {(*_arm(r), r["suite"], r["task"], r["seed"]) for r in records}
    arms = arms_of(options)
    after = options.replan_after_steps or policy.replan_after_steps or policy.horizon
    with path.open("a") as file:
        for episode in episodes:
            for mode, answer_s in arms:
                if (mode, answer_s, episode.suite, episode.task, episode.seed) in done:
                    continue
                if mode == LOCKSTEP:
                    outcome = drive_lockstep(policy, episode, after)
                else:
                    outcome = drive_realtime(policy, episode, mode, answer_s, options)
                record = {
                    "mode": mode, "answer_s": answer_s, "suite": episode.suite,
                    "task": episode.task, "seed": episode.seed, "way": way, **outcome,
                }  # fmt: skip
                records.append(record)
                file.write(json.dumps(record) + "\n")
                file.flush()
            print(f"\r{episode.name}", end="", file=sys.stderr, flush=True)
    print("", file=sys.stderr)
    print(table(records, arms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
