"""An action server that runs one training job at a time, as a process, and reports on it.

The job is `python -m roboalign_training.<kind>`; its `metrics.jsonl` is the source of the
feedback. A cancelled or shut-down job gets SIGINT, writes a checkpoint and can be resumed; only
one that hangs is killed.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from roboalign_msgs.action import Train
from roboalign_msgs.msg import TrainingStatus

from roboalign_policy.core.parameters.declared import param
from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.parameters import declare_parameters
from roboalign_policy.ros.qos import reliable_qos
from roboalign_training.nodes.training_job import TrainingJob


@dataclass(frozen=True)
class TrainServerParameters:
    """Parameters of sft_node and grpo_node."""

    report_period_s: float = param(
        0.5,
        "period at which the job's metrics are read and reported",
        unit="s",
        low=0.02,
        high=60.0,
    )
    stop_timeout_s: float = param(
        120.0,
        "time a job has to save after SIGINT before it is killed",
        unit="s",
        low=1.0,
        high=3600.0,
    )


@dataclass
class _Run:
    """The job in force."""

    job: TrainingJob
    handle: ServerGoalHandle
    done: Future
    started_s: float
    stopped_by: str = ""


class TrainServer(Node):
    """Action `~/train` (Train) and topic `~/status` (TrainingStatus) for one kind of training."""

    def __init__(self, kind: str) -> None:
        """Advertise the action.

        Args:
            kind: sft or grpo; also names the node.
        """
        super().__init__(f"{kind}_node")
        self.kind = kind
        self._settings = declare_parameters(self, TrainServerParameters)
        self._run: _Run | None = None
        self._closing = False
        self._status = self.create_publisher(TrainingStatus, "~/status", reliable_qos(1))
        self._server = ActionServer(
            self,
            Train,
            "~/train",
            self._execute,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
        )
        self.create_timer(self._settings.report_period_s, self._watch)

    async def _execute(self, handle: ServerGoalHandle) -> Train.Result:
        started_s = time.monotonic()
        if self._run is not None or self._closing:
            reason = Train.Result.REASON_SHUTDOWN if self._closing else Train.Result.REASON_BUSY
            handle.abort()
            return _result(
                reason,
                "nothing was started: "
                + ("shutting down" if self._closing else "a job is running"),
            )
        goal = handle.request
        try:
            job = TrainingJob(
                self.kind, goal.config_file, list(goal.overrides), goal.output_dir, goal.resume
            )
        except ValueError as error:
            handle.abort()
            return _result(Train.Result.REASON_INVALID_CONFIG, str(error))
        self.get_logger().info(f"starting {' '.join(job.command)}")
        job.start()
        run = self._run = _Run(job, handle, Future(executor=self.executor), started_s)
        await run.done
        self._run = None
        return self._finish(run)

    def _watch(self) -> None:
        """Report progress, pass a cancel on to the job, and notice its end."""
        run = self._run
        if run is None or run.done.done():
            return
        running = run.job.running()
        run.job.read_metrics()
        self._report(run)
        if not running:
            run.done.set_result(None)
        elif run.handle.is_cancel_requested and not run.stopped_by:
            self._stop_job("CANCELLED")

    def _stop_job(self, reason: str) -> None:
        self._run.stopped_by = reason
        self._run.job.stop(self._settings.stop_timeout_s)

    async def stop(self) -> None:
        """Let a running job save and end; called once, before the node goes."""
        self._closing = True
        if self._run is not None:
            done = self._run.done
            if not self._run.stopped_by:
                self._stop_job("SHUTDOWN")
            await done

    def _finish(self, run: _Run) -> Train.Result:
        reason = run.job.reason
        if run.stopped_by and reason in ("STOPPED", "FAILED"):
            reason = run.stopped_by
        reason = "FAILED" if reason == "STOPPED" else reason  # somebody else sent the signal
        message = "" if reason == "FINISHED" else run.job.last_output()
        result = _result(getattr(Train.Result, f"REASON_{reason}"), message)
        latest = run.job.latest
        result.checkpoint_path = run.job.checkpoint_path()
        result.steps = int(latest.get("step", 0))
        result.final_loss = float(latest.get("loss", math.nan))
        result.final_reward = float(latest.get("reward", math.nan))
        result.duration_s = time.monotonic() - run.started_s
        if reason == "FINISHED":
            run.handle.succeed()
        elif run.handle.is_cancel_requested:
            run.handle.canceled()
        else:
            run.handle.abort()
        self.get_logger().info(f"{reason.lower()} after {result.steps} steps {message}".rstrip())
        return result

    def _report(self, run: _Run) -> None:
        latest = run.job.latest
        status = TrainingStatus(
            stamp=self.get_clock().now().to_msg(),
            run_id=run.job.run_id,
            kind=self.kind,
            stage=latest.get("stage", TrainingStatus.STAGE_PREPARING),
            step=int(latest.get("step", 0)),
            total_steps=int(latest.get("total_steps", 0)),
            epoch=float(latest.get("epoch", 0.0)),
            loss=float(latest.get("loss", math.nan)),
            reward=float(latest.get("reward", math.nan)),
            learning_rate=float(latest.get("learning_rate", 0.0)),
            samples_per_s=float(latest.get("samples_per_s", 0.0)),
            elapsed_s=time.monotonic() - run.started_s,
            remaining_s=float(latest.get("remaining_s", math.nan)),
            message=run.job.last_output()[-200:],
        )
        self._status.publish(status)
        run.handle.publish_feedback(Train.Feedback(status=status))


def run_server(kind: str) -> int:
    """Runs the node of one kind of training until a signal; a running job saves first."""
    return run_node(lambda _: TrainServer(kind), stop_timeout_s=None, takes_words=False)


def _result(reason: int, message: str) -> Any:
    return Train.Result(reason=reason, message=message, final_loss=math.nan, final_reward=math.nan)
