"""The simulated arm in real time, through the command that users start, beside lock step.

    python bench/realtime.py OUT --policy FOLDER
    python bench/realtime.py OUT --policy FOLDER --lockstep RESULTS
    python bench/realtime.py OUT --policy FOLDER --start "ros2 launch ... params:=FILE"

Started is `ros2 launch roboalign_policy real_robot.launch.py` where it is installed, else
`roboalign up`; --lockstep is the folder of results of `roboalign evaluate closed-loop` on the same
seeds. The nodes are started once; between episodes the gate and the policy are
disabled, the simulator is reset, and both are enabled again. An episode counts as a success when
the task's success check holds within its number of driven steps, as in lock step, where the world
rests while the model thinks; told beside is how many succeed also when the time of the arm's rests
counts. An episode that the gate stops is over, and told beside too. Results go to
OUT/results.jsonl, one line an episode; a repeated call drives what is missing. OUT/summary.json is
what `scripts/readme_table.py --realtime` puts into the README.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from roboalign_msgs.msg import ActionChunk, Candidate, GateStatus, PolicyStatus
from roboalign_msgs.srv import ResetSim
from scipy.stats import binomtest
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from roboalign_policy.ros.qos import reliable_qos
from roboalign_policy.ros.stamps import stamp_to_ns
from roboalign_policy.sim import SUITES
from roboalign_training.evaluate.closed_loop import DrivenEpisode, episodes_of_suites, read_results
from roboalign_training.evaluate.seeds import CLOSED_LOOP_SEED
from roboalign_training.shared.statistics import wilson_interval

START_S, ANSWER_S, REPEAT_S, STOP_S = 120.0, 20.0, 1.0, 20.0
EPISODE_S = 120.0  # an episode that takes longer is none
STEP_M, RATE_HZ = 0.05, 10.0  # of sim_panda: a step of 1, and how often one is sent
NOTHING_STEPS = 200  # of the simulator's, without one of the policy's: the episode failed


class BenchError(RuntimeError):
    """The nodes did not come up or stopped answering."""


class Robot:
    """A client of the three nodes: resets, enables, watches."""

    def __init__(self) -> None:
        """Join the graph."""
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = node = Node("realtime_bench", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._scene: dict = {}
        self._chunks: list[ActionChunk] = []
        self._driven = 0  # steps of chunks that policy_node has sent
        self._steps: list[list[float]] = []  # of the hand, where they are sent; rests too
        self._gate: GateStatus | None = None
        self._policy: PolicyStatus | None = None
        self.stops: list[str] = []
        qos = reliable_qos(100)
        node.create_subscription(Candidate, "candidate", self._on_candidate, qos)
        node.create_subscription(String, "scene", self._on_scene, qos)
        node.create_subscription(ActionChunk, "action_chunk", self._chunks.append, qos)
        node.create_subscription(GateStatus, "safety_gate_node/status", self._on_gate, qos)
        node.create_subscription(PolicyStatus, "policy_node/status", self._on_policy, qos)
        self._reset = node.create_client(ResetSim, "sim_robot_node/reset")
        self._services = {
            name: node.create_client(kind, name)
            for name, kind in (
                ("safety_gate_node/enable", SetBool),
                ("safety_gate_node/reset", Trigger),
                ("policy_node/enable", SetBool),
            )
        }

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def connect(self) -> None:
        """Wait until all nodes answer and the policy is active."""
        ready = [self._reset, *self._services.values()]
        self._until(lambda: all(c.service_is_ready() for c in ready), START_S, "the services")
        self._until(
            lambda: self._policy is not None and self._policy.state != PolicyStatus.STATE_INACTIVE,
            START_S,
            "an active policy_node",
        )

    def drive(self, episode: DrivenEpisode) -> dict:
        """Drive one episode; its record."""
        self._switch("policy_node/enable", False)
        self._switch("safety_gate_node/enable", False)
        request = ResetSim.Request(suite=episode.suite, task=episode.task, seed=episode.seed)
        reset = self._call(self._reset, request)
        if not reset.ok:
            raise BenchError(f"{episode}: the simulator refused: {reset.message}")
        begun_ns = stamp_to_ns(reset.stamp)
        self._spin(1.0)  # images of the new scene; the arm is at rest
        self._chunks.clear()
        self.stops.clear()
        self._call(self._services["safety_gate_node/reset"], Trigger.Request())
        self._switch("safety_gate_node/enable", True)
        # Time runs from the arm's first chance to move, as in lock step.
        first_step = self._scene.get("step", 0)
        self._driven = 0
        self._steps.clear()
        self._switch("policy_node/enable", True)
        tasks = {task.name: task for task in SUITES[episode.suite]}
        limit = tasks[episode.task].max_steps
        started_s, moved_step, last_step = time.monotonic(), None, None

        def over() -> bool:
            nonlocal moved_step, last_step
            scene = self._scene
            if scene.get("stamp_ns", 0) < begun_ns:
                return False
            if moved_step is None:
                if not self._driven:
                    return scene["step"] - first_step > NOTHING_STEPS
                moved_step = scene["step"]
            if last_step is None and self._driven >= limit:
                last_step = scene["step"]
            driven = last_step is not None and scene["step"] - last_step >= 2
            return scene["success"] or driven or bool(self.stops)  # a stop latches

        self._until(over, EPISODE_S, f"the end of {episode}")
        decoded = [c for c in self._chunks if c.decode_status == ActionChunk.DECODE_OK]
        steps = self._scene["step"] - (moved_step or first_step)
        return {
            **asdict(episode),
            "success": bool(self._scene["success"]),
            "in_time": bool(self._scene["success"]) and steps <= limit,
            "steps": steps,
            "driven": self._driven,
            "seconds": round(time.monotonic() - started_s, 3),
            "chunks": len(self._chunks),
            "valid_chunks": len(decoded),
            "inference_s": [round(c.inference_s, 4) for c in self._chunks],
            "jerk_m_s3": jerk_m_s3(self._steps),
            "gate_stops": list(self.stops),
        }

    def _switch(self, name: str, on: bool) -> None:
        # Nodes that have just started refuse until each of their topics has been received.
        end_s = time.monotonic() + ANSWER_S
        while not (answer := self._call(self._services[name], SetBool.Request(data=on))).success:
            if time.monotonic() > end_s:
                raise BenchError(f"{name} {on}: {answer.message}")
            self._spin(REPEAT_S)

    def _call(self, client, request):
        futures, next_s = [], 0.0

        def answered():
            nonlocal next_s
            if time.monotonic() >= next_s:  # an answer to a client not yet discovered is lost
                futures.append(client.call_async(request))
                next_s = time.monotonic() + 5 * REPEAT_S
            return any(f.done() for f in futures)

        self._until(answered, ANSWER_S, client.srv_name)
        return next(f.result() for f in futures if f.done())

    def _until(self, condition, limit_s: float, what: str) -> None:
        end_s = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end_s:
                raise BenchError(f"waited {limit_s:g} s for {what}")
            self._executor.spin_once(timeout_sec=0.05)

    def _spin(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.05)

    def _on_scene(self, msg: String) -> None:
        self._scene = json.loads(msg.data)

    def _on_candidate(self, msg: Candidate) -> None:
        self._driven += msg.kind == Candidate.KIND_MOTION and msg.chunk_id > 0
        places = [i for i, n in enumerate(msg.dimension_names) if n in ("dx", "dy", "dz")]
        if len(places) == 3 and msg.kind in (Candidate.KIND_MOTION, Candidate.KIND_HOLD):
            self._steps.append([msg.data[i] * STEP_M / msg.step_s for i in places])

    def _on_gate(self, msg: GateStatus) -> None:
        if self._gate is not None and msg.stops > self._gate.stops:
            self.stops.append(msg.detail)
        self._gate = msg

    def _on_policy(self, msg: PolicyStatus) -> None:
        self._policy = msg


def jerk_m_s3(speeds: list[list[float]]) -> float | None:
    """Root mean square of the jerk of what was commanded, m/s^3; None with too few steps.

    Args:
        speeds: (steps, 3) m/s, at the contract's rate, 0 where the arm rested.
    """
    if len(speeds) < 3:
        return None
    second = np.diff(np.array(speeds), n=2, axis=0) * RATE_HZ**2
    return float(np.sqrt((second**2).sum(axis=1).mean()))


class Started:
    """The command that users start, in a process group of its own."""

    def __init__(self, command: str, log: Path) -> None:
        """Start it; what it prints goes to ``log``."""
        self._file = log.open("a")
        self._process = subprocess.Popen(
            shlex.split(command), stdout=self._file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def close(self) -> None:
        """End it as ctrl-C does."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._file.close()


def default_command(policy: str) -> str:
    """`ros2 launch` where it is, else what starts the same nodes without it."""
    if shutil.which("ros2"):
        return f"ros2 launch roboalign_policy real_robot.launch.py use_sim:=true policy:={policy}"
    return f"roboalign up --sim --policy {policy}"


def summary(records: list[dict], lockstep: dict[DrivenEpisode, dict]) -> dict[str, dict]:
    """Successes by suite and of all, with Wilson 95 % intervals, beside those of lock step.

    Args:
        records: of real time.
        lockstep: records on the same seeds; may be empty.
    """
    found = {}
    for suite in [*SUITES, "all"]:
        of = [r for r in records if suite in ("all", r["suite"])]
        if not of:
            continue
        won = sum(r["success"] for r in of)
        found[suite] = {
            "successes": won,
            "n": len(of),
            "interval": list(wilson_interval(won, len(of))),
            "in_time": sum(r["in_time"] for r in of),
            "stopped_by_gate": sum(bool(r["gate_stops"]) for r in of),
        }
        keys = [DrivenEpisode(r["suite"], r["task"], r["seed"]) for r in of]
        if not all(key in lockstep for key in keys):
            continue
        pairs = [
            (bool(r["success"]), bool(lockstep[k]["success"]))
            for r, k in zip(of, keys, strict=True)
        ]
        more, less = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
        there = sum(b for _, b in pairs)
        found[suite]["lockstep"] = {
            "successes": there,
            "interval": list(wilson_interval(there, len(of))),
            "only_realtime": more,
            "only_lockstep": less,
            "mcnemar_p": float(binomtest(more, more + less, 0.5).pvalue) if more + less else 1.0,
        }
    return found


def shown(found: dict[str, dict]) -> str:
    """A summary as text."""
    lines = []
    for suite, entry in found.items():
        low, high = entry["interval"]
        line = (
            f"{suite:8} {entry['successes']}/{entry['n']} ({100 * low:.0f}-{100 * high:.0f} %), "
            f"waiting counted {entry['in_time']}, "
            f"stopped by the gate in {entry['stopped_by_gate']}"
        )
        if pair := entry.get("lockstep"):
            line += (
                f"; lock step {pair['successes']}/{entry['n']}, only here "
                f"{pair['only_realtime']}, only there {pair['only_lockstep']}, McNemar (exact) "
                f"p = {pair['mcnemar_p']:.3f}"
            )
        lines.append(line)
    return "\n".join(lines)


def main() -> int:
    """Drive, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--policy", required=True, help="folder of the checkpoint")
    parser.add_argument("--per-suite", type=int, default=25, help="episodes a suite")
    parser.add_argument("--suites", nargs="+", default=list(SUITES), choices=list(SUITES))
    parser.add_argument("--seed", type=int, default=CLOSED_LOOP_SEED, help="the first")
    parser.add_argument("--start", default="", help="command that starts the nodes")
    parser.add_argument("--lockstep", type=Path, help="folder of lock-step results to pair with")
    options = parser.parse_args()
    # In the background of a shell it is ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options.out.mkdir(parents=True, exist_ok=True)
    suites = {name: SUITES[name] for name in options.suites}
    episodes = episodes_of_suites(suites, options.per_suite, options.seed)
    found = read_results(options.out)
    if any("driven" not in record for record in found.values()):
        parser.error(f"{options.out}: found results without driven steps, expected another folder")
    missing = [e for e in episodes if e not in found]
    command = options.start or default_command(options.policy)
    if missing:
        print(command, flush=True)
        started, robot = Started(command, options.out / "nodes.log"), Robot()
        try:
            robot.connect()
            with (options.out / "results.jsonl").open("a") as file:
                for number, episode in enumerate(missing, 1):
                    record = robot.drive(episode)
                    file.write(json.dumps(record) + "\n")
                    file.flush()
                    found[episode] = record
                    print(
                        f"{number}/{len(missing)} {episode.name}: "
                        f"{'success' if record['success'] else 'not'} after {record['steps']} "
                        f"steps, {record['seconds']} s {record['gate_stops'] or ''}",
                        flush=True,
                    )
        finally:
            robot.close()
            started.close()
    lockstep = read_results(options.lockstep) if options.lockstep else {}
    figures = summary([found[e] for e in episodes], lockstep)
    seconds = [s for e in episodes for s in found[e]["inference_s"]]
    report = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "cores": len(os.sched_getaffinity(0)),
        "inference_p50_s": float(np.median(seconds)) if seconds else None,
        "suites": figures,
    }
    (options.out / "summary.json").write_text(json.dumps(report, indent=1) + "\n")
    print(shown(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
