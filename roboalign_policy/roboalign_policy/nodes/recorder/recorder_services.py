"""What an operator asks of recorder_node by services: start, stop, pause, redo, keep, judge."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from rclpy.node import Node
from roboalign_msgs.action import RecordEpisode
from roboalign_msgs.srv import KeepLast, MarkEpisode, StartEpisode, StopEpisode
from std_srvs.srv import SetBool, Trigger

from roboalign_policy.core.recording.episodes import RecordingError, check_outcome
from roboalign_policy.nodes.recorder.episode_recorder import EpisodeRecorder
from roboalign_policy.ros.recording.bag_outcome import mark_outcome

_END = ("message", "episode_id", "bag_path", "messages", "duration_s", "verdict", "notes")


def _answers(service: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[Any]]:
    """Service that returns success=false and the reason if the request cannot be carried out."""

    @functools.wraps(service)
    async def answer(self: RecorderServices, request: Any, response: Any) -> Any:
        try:
            await service(self, request, response)
        except (RecordingError, OSError) as error:
            response.message = str(error)
        return response

    return answer


class RecorderServices:
    """Services of a recorder; those that end an episode answer when its bag is on disk."""

    def __init__(self, node: Node, recorder: EpisodeRecorder) -> None:
        """Open them."""
        self._recorder = recorder
        node.create_service(StartEpisode, "~/start_episode", self._on_start)
        node.create_service(StopEpisode, "~/stop_episode", self._on_stop)
        node.create_service(SetBool, "~/pause", self._on_pause)
        node.create_service(Trigger, "~/redo_episode", self._on_redo)
        node.create_service(KeepLast, "~/keep_last", self._on_keep)
        node.create_service(MarkEpisode, "~/mark_episode", self._on_mark)

    @_answers
    async def _on_start(self, asked: StartEpisode.Request, said: StartEpisode.Response) -> None:
        said.episode_id = self._recorder.begin(
            asked.instruction, asked.episode_id, asked.operator_name
        )
        said.ok, said.bag_path = True, str(self._recorder.root / said.episode_id)

    @_answers
    async def _on_stop(self, asked: StopEpisode.Request, said: StopEpisode.Response) -> None:
        check_outcome(asked.outcome)
        if not self._recorder.episode_id:
            raise RecordingError("no episode is being recorded")
        end = await self._recorder.finish(asked.outcome, RecordEpisode.Result.REASON_STOPPED)
        said.ok = end.reason != RecordEpisode.Result.REASON_WRITE_FAULT
        _tell_end(end, said)

    @_answers
    async def _on_pause(self, asked: SetBool.Request, said: SetBool.Response) -> None:
        """Interrupt the present episode (true) or go on with it (false)."""
        self._recorder.pause(asked.data)
        said.success = True

    @_answers
    async def _on_redo(self, _asked: Trigger.Request, said: Trigger.Response) -> None:
        """Throw the present episode away and begin it again; the message is the new id."""
        said.message, said.success = self._recorder.redo(), True

    @_answers
    async def _on_keep(self, asked: KeepLast.Request, said: KeepLast.Response) -> None:
        """Record what has just happened."""
        end = await self._recorder.keep_last(
            asked.seconds,
            asked.instruction,
            asked.episode_id,
            asked.operator_name,
            asked.outcome or "unknown",
        )
        said.ok = bool(end.bag_path)
        _tell_end(end, said)

    @_answers
    async def _on_mark(self, asked: MarkEpisode.Request, said: MarkEpisode.Response) -> None:
        """Judge an episode that has ended."""
        episode_id = asked.episode_id or self._recorder.last_id
        if not episode_id:
            raise RecordingError("episode_id: found an empty text, no episode has ended yet")
        path = mark_outcome(self._recorder.root, episode_id, asked.outcome)
        said.ok, said.episode_id, said.bag_path = True, path.name, str(path)


def _tell_end(end: RecordEpisode.Result, said: Any) -> None:
    """Answer with how an episode ended."""
    for name in _END:
        setattr(said, name, getattr(end, name))
