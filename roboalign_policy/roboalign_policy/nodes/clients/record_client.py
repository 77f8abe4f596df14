"""Records demonstrations over ROS: reset, start, let the expert drive, count, stop.

Needs a sim_robot_node (``mode: lockstep``, ``demonstrator: expert``) and a recorder_node
(``lossless: true``); ``record_shards`` starts pairs of them. Nothing is lost, for three reasons
that do not depend on timing: all topics are reliable with unlimited history, the expert begins
only when every topic has a subscriber, and an episode is stopped only when the recorder has
counted every observation and every command of it. The finished bag is counted once more.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcap.reader import make_reader
from roboalign_msgs.msg import RecordingHealth
from roboalign_msgs.srv import GetOutcome, StartEpisode, StopEpisode
from std_srvs.srv import Trigger

from roboalign_policy.core.contract.contract import Contract, find_contract, load_contract
from roboalign_policy.nodes.clients.sim_client import SimClient
from roboalign_policy.ros.qos import reliable_qos

POLL_S = 0.01
OPERATOR = "expert"


class RecordError(RuntimeError):
    """Simulator or recorder is missing, refuses the work, or an episode is not complete."""


@dataclass(frozen=True)
class RecordJob:
    """One demonstration to record; ``task`` empty: the first of the suite."""

    suite: str
    task: str
    seed: int
    action_noise: float = 0.0

    @property
    def episode_id(self) -> str:
        """Name of its episode, the same whenever it is recorded."""
        task = re.sub(r"[^A-Za-z0-9_-]+", "-", self.task) or "first"
        noise = f"-n{self.action_noise:g}" if self.action_noise else ""
        return f"{self.suite}-{task}-{self.seed:06d}{noise}"


@dataclass(frozen=True)
class RecordResult:
    """What came of one job: the expert's success, the steps it took (s.

    Wall-clock time), where the bag is.
    """

    job: RecordJob
    instruction: str
    success: bool
    steps: int
    bag_path: Path
    wall_s: float


class RecordClient(SimClient):
    """Drives one pair of simulator and recorder."""

    error = RecordError

    def __init__(
        self,
        contract: Contract,
        namespace: str = "",
        domain_id: int | None = None,
        stall_s: float = 60.0,
    ):
        """Make the clients.

        Args:
            contract: the robot's.
            namespace: of both nodes.
            domain_id: ROS domain; None: that of the environment.
            stall_s: s; no answer or no progress for so long is an error.
        """
        super().__init__("record_client", namespace, domain_id, stall_s, enable_rosout=False)
        self._health = RecordingHealth()
        with self._closed_on_failure():
            self._join(contract)

    def _join(self, contract: Contract) -> None:
        """Make what listens and what is asked."""
        node = self.node
        self._demonstrate = node.create_client(Trigger, "sim_robot_node/demonstrate")
        self._start = node.create_client(StartEpisode, "recorder_node/start_episode")
        self._stop = node.create_client(StopEpisode, "recorder_node/stop_episode")
        self._report = node.create_client(Trigger, "recorder_node/report")
        self._await(self._demonstrate, self._start, self._stop, self._report)
        node.create_subscription(
            RecordingHealth, "recorder_node/health", self._on_health, reliable_qos(1, latched=True)
        )
        self._observed = [
            node.resolve_topic_name(stream.topic) for stream in contract.observations
        ]
        self._commanded = [
            node.resolve_topic_name(command.topic) for command in contract.action.commands
        ]

    def record(self, job: RecordJob) -> RecordResult:
        """Record one demonstration.

        Raises:
            RecordError: something is missing, refused or incomplete.
        """
        began_s = time.monotonic()
        reset = self._set_up(job)
        started = self._call(
            self._start,
            StartEpisode.Request(
                instruction=reset.instruction, episode_id=job.episode_id, operator_name=OPERATOR
            ),
        )
        if not started.ok:
            raise RecordError(f"{job}: the recorder refused: {started.message}")
        self._begin_demonstration(job)
        outcome = self._until_done(job)
        expected = self._expected(outcome.steps)
        self._until_counted(job, expected)
        stopped = self._call(
            self._stop, StopEpisode.Request(outcome="success" if outcome.success else "failure")
        )
        if not stopped.ok:
            raise RecordError(f"{job}: the recorder did not finish: {stopped.message}")
        bag = Path(stopped.bag_path)
        check_counts(bag, expected)
        seconds = time.monotonic() - began_s
        return RecordResult(job, reset.instruction, outcome.success, outcome.steps, bag, seconds)

    def _expected(self, steps: int) -> dict[str, int]:
        """Messages by topic of an episode of ``steps`` steps.

        An observation more than commands.
        """
        return {
            **dict.fromkeys(self._observed, steps + 1),
            **dict.fromkeys(self._commanded, steps),
        }

    def _begin_demonstration(self, job: RecordJob) -> None:
        """Start the expert as soon as the simulator sees a subscriber on every topic."""
        until_s = time.monotonic() + self._stall_s
        while not (answer := self._call(self._demonstrate, Trigger.Request())).success:
            if time.monotonic() > until_s:
                raise RecordError(f"{job}: the expert does not begin: {answer.message}")
            time.sleep(10 * POLL_S)

    def _until_done(self, job: RecordJob) -> GetOutcome.Response:
        """Wait until the episode is over."""
        steps, moved_s = -1, time.monotonic()
        while not (outcome := self._call(self._outcome, GetOutcome.Request())).done:
            if outcome.steps != steps:
                steps, moved_s = outcome.steps, time.monotonic()
            elif time.monotonic() - moved_s > self._stall_s:
                raise RecordError(f"{job}: no step after step {steps} for {self._stall_s:g} s")
            time.sleep(4 * POLL_S)
        return outcome

    def _until_counted(self, job: RecordJob, expected: Mapping[str, int]) -> None:
        """Wait until the recorder has every message of the episode."""
        until_s = time.monotonic() + self._stall_s
        while True:
            self._call(self._report, Trigger.Request())
            counts = dict(zip(self._health.topics, self._health.counts, strict=True))
            present = self._health.episode_id == job.episode_id
            if present and all(counts[topic] >= count for topic, count in expected.items()):
                return
            if time.monotonic() > until_s:
                raise RecordError(f"{job}: the recorder has {counts}, expected {dict(expected)}")
            self._executor.spin_once(timeout_sec=POLL_S)

    def _on_health(self, msg: RecordingHealth) -> None:
        self._health = msg


def check_counts(bag: Path, expected: Mapping[str, int]) -> None:
    """Compare what a bag's storage holds with what it should.

    Args:
        bag: folder of one episode.
        expected: messages by topic.

    Raises:
        RecordError: a count differs.
    """
    counts = dict.fromkeys(expected, 0)
    for path in bag.glob("*.mcap"):
        with path.open("rb") as stream:
            summary = make_reader(stream).get_summary()
        for channel_id, count in summary.statistics.channel_message_counts.items():
            topic = summary.channels[channel_id].topic
            counts[topic] = counts.get(topic, 0) + count
    wrong = [f"{t}: {counts[t]} of {n}" for t, n in expected.items() if counts[t] != n]
    if wrong:
        raise RecordError(f"{bag}: incomplete: {', '.join(wrong)}")


def record_episodes(
    jobs: Iterable[RecordJob],
    *,
    contract: str = "sim_panda",
    namespace: str = "",
    domain_id: int | None = None,
    connect_s: float = 60.0,
) -> Iterator[RecordResult]:
    """Record jobs one after the other with nodes that run already; yields each result as it comes.

    Args:
        jobs: what to record.
        contract: the robot's contract, path or packaged name.
        namespace: of both nodes.
        domain_id: ROS domain; None: that of the environment.
        connect_s: s; how long to wait for the nodes to appear.

    Raises:
        RecordError: see :meth:`RecordClient.record`.
    """
    robot = load_contract(find_contract(contract))
    with RecordClient(robot, namespace, domain_id) as client:
        client.connect(connect_s)
        for job in jobs:
            yield client.record(job)
