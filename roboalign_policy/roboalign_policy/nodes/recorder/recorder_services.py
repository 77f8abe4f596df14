"""What an operator asks of recorder_node besides start and stop: pause, redo, keep, judge."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from roboalign_msgs.srv import KeepLast, MarkEpisode
from std_srvs.srv import SetBool, Trigger

from roboalign_policy.core.recording.episodes import RecordingError
from roboalign_policy.nodes.recorder.episode_recorder import EpisodeRecorder
from roboalign_policy.ros.recording.bag_outcome import mark_outcome


class RecorderServices:
    """Services ``~/pause``, ``~/redo_episode``, ``~/keep_last`` and ``~/mark_episode``."""

    def __init__(self, node: Node, recorder: EpisodeRecorder) -> None:
        """Open them."""
        self._recorder = recorder
        node.create_service(SetBool, "~/pause", self._on_pause)
        node.create_service(Trigger, "~/redo_episode", self._on_redo)
        node.create_service(KeepLast, "~/keep_last", self._on_keep)
        node.create_service(MarkEpisode, "~/mark_episode", self._on_mark)

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Interrupt the present episode (true) or go on with it (false)."""
        try:
            self._recorder.pause(request.data)
        except RecordingError as error:
            response.message = str(error)
            return response
        response.success = True
        return response

    def _on_redo(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Throw the present episode away and begin it again; the message is the new id."""
        try:
            response.message, response.success = self._recorder.redo(), True
        except (RecordingError, OSError) as error:
            response.message = str(error)
        return response

    async def _on_keep(self, request: KeepLast.Request, response: KeepLast.Response) -> Any:
        """Record what has just happened."""
        try:
            ended = self._recorder.keep_last(
                request.seconds,
                request.instruction,
                request.episode_id,
                request.operator_name,
                request.outcome or "unknown",
            )
        except (RecordingError, OSError) as error:
            response.message = str(error)
            return response
        end = await ended
        response.ok, response.message = bool(end.bag_path), end.message
        response.episode_id, response.bag_path = end.episode_id, end.bag_path
        response.messages, response.duration_s = end.messages, end.duration_s
        response.verdict, response.notes = end.verdict, end.notes
        return response

    def _on_mark(self, request: MarkEpisode.Request, response: MarkEpisode.Response) -> Any:
        """Judge an episode that has ended."""
        episode_id = request.episode_id or self._recorder.last_id
        try:
            if not episode_id:
                raise RecordingError("episode_id: found an empty text, no episode has ended yet")
            path = mark_outcome(self._recorder.root, episode_id, request.outcome)
        except (RecordingError, OSError) as error:
            response.message = str(error)
            return response
        response.ok, response.episode_id, response.bag_path = True, path.name, str(path)
        return response
