"""Executes the requests of a recording's operator and tracks their state.

No screen and no keyboard here: `roboalign record` shows it and reads them.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from roboalign_policy.core.recording.operator_keys import Ask, Deed, pressed, step_for
from roboalign_policy.core.recording.stream_stats import FIT
from roboalign_policy.core.recording.task_list import TaskList
from roboalign_policy.nodes.clients.recorder_link import RECORDER, RecorderLink
from roboalign_policy.nodes.sim.sim_demonstrator import SimDemonstrator

if TYPE_CHECKING:
    from rclpy.node import Node
    from roboalign_msgs.msg import RecordingHealth

ANSWER_S = 60.0  # an episode is brought to the disk within this time
END_S = 5.0  # for the recorder to end an episode, when the panel goes
BEGUN_S = 1.0  # health that is older than the answer to a start is not heard later than this
_SAID = 6
_ENDS = {
    Deed.SUCCESS: "success",
    Deed.FAILURE: "failure",
    Deed.DISCARD: "discarded",
}
_MARKS = {Deed.MARK_FAILURE: "failure", Deed.MARK_DISCARDED: "discarded"}
_ONLY_OWN = (Deed.SUCCESS, Deed.REDO, Deed.PAUSE, Deed.RESUME)
_CALLED_OFF = (Ask.DISCARD, Ask.FAILURE, Ask.PAUSE)


class RecordingPanel:
    """What the operator asks for, and what is under way; a context manager.

    Attributes:
        tasks: what is to be demonstrated.
        said: what happened last, newest at the end.
        busy: something was asked and has not been answered.
        finished: by id, what became of each episode that was ended here: an outcome, or its
            verdict where it is not fit.
    """

    def __init__(
        self,
        tasks: TaskList,
        *,
        namespace: str = "",
        operator: str = "",
        keep_s: float = 0.0,
        buttons: Mapping[int, Ask] | None = None,
        correct: bool = False,
        sim: Callable[[Node], SimDemonstrator] | None = None,
    ) -> None:
        """Join the graph; nothing is published before an episode begins.

        Args:
            tasks: what is to be demonstrated.
            namespace: of the recorder and the robot's topics.
            operator: name to be stored with the episodes.
            keep_s: s; how much of the past ``keep`` takes; 0: all that is held.
            buttons: of a joystick on ``joy``; None: none.
            correct: an enabled policy may drive in the episodes, and a person corrects it.
            sim: makes the simulated arm's demonstrator with the panel's node: the scene is set up
                and the expert begins with each episode; None: a person demonstrates.
        """
        self.tasks, self._operator, self._keep_s = tasks, operator, keep_s
        self.said: deque[str] = deque(maxlen=_SAID)
        self.busy = False
        self.finished: dict[str, str] = {}
        self._instruction, self._told, self._ever_told = "", "", False
        self._episode, self._begun_s, self._seen = "", 0.0, False
        self._last: str | None = None  # episode that ended last; empty: it was thrown away
        self._asked, self._until_s, self._number = "", 0.0, 0
        self._starting: Deed | None = None  # what is under way lets the arm move when it is done
        self._after: Deed | None = None  # what the operator wants instead of that
        self._left = False
        self._correct = correct
        self._wishes: deque[Ask] = deque()
        self._buttons, self._down = dict(buttons or {}), []
        on_buttons = self._on_buttons if self._buttons else None
        self._link = RecorderLink(namespace, self._on_health, self._on_policy, on_buttons)
        self._sim = sim(self._link.node) if sim is not None else None

    def __enter__(self) -> RecordingPanel:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._left:
            self.withdraw()
        self._link.close()

    def withdraw(self) -> list[str]:
        """Take the instruction back, and have the recorder end the episode as unknown.

        So a policy that was to be corrected does not go on alone, and nothing is recorded for
        ever by a recorder that runs on.

        Returns:
            What was not confirmed: the arm may still be driven, or the episode goes on.
        """
        self._left = True
        faults, until_s = [], time.monotonic() + END_S
        if self._told:
            self._tell_task("")
        if self._ever_told and not self._link.task_confirmed(2.0):
            faults.append(
                "not all who listen to the task topic have confirmed the end of the instruction: "
                "see whether a policy still drives"
            )
        if self._starting is not None and self._after is None:
            self._after = Deed.PAUSE if self._starting is Deed.RESUME else Deed.DISCARD
        self._link.until(lambda: not self.busy, until_s - time.monotonic())
        if self._episode:
            faults += self._end_unknown(self._episode, until_s - time.monotonic())
        elif self.busy:
            faults.append(f"no answer to {self._asked}: see what the recorder records")
        self.busy, self._starting, self._after = False, None, None
        self._number += 1
        return faults

    def _end_unknown(self, episode: str, timeout_s: float) -> list[str]:
        self.finished[episode], self._episode = "unknown", ""
        answer = self._link.ask("stop_episode", timeout_s, outcome="unknown")
        if answer is not None and answer.ok:
            return []
        why = answer.message if answer is not None else "the recorder does not answer"
        return [f"{episode}: its end is not confirmed: {why}"]

    @property
    def health(self) -> RecordingHealth | None:
        """What the recorder said last; None before that."""
        return self._link.health

    @property
    def ready(self) -> bool:
        """Whether a recorder is there and answers; the simulated arm, too, where one is used."""
        if self._sim is not None and not self._sim.ready:
            return False
        return self._link.ready

    @property
    def recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._link.fresh and (bool(self._episode) or bool(self._others))

    @property
    def _others(self) -> str:
        """Id of an episode that is recorded and was not begun here; empty where there is none."""
        health = self.health
        if health is None or not health.recording or self._episode:
            return ""
        return "" if health.episode_id in self.finished else health.episode_id

    @property
    def fault(self) -> str:
        """Why no episode can begin; empty where one can."""
        if (count := self._link.recorders) > 1:
            return (
                f"{count} recorders are there and would all record: end all but one, and leave "
                "out --contract where one runs already"
            )
        return self.policy_fault

    @property
    def policy_fault(self) -> str:
        """Why no demonstration can begin: a policy would drive in it; empty where none would."""
        return self._link.policy_fault(self._correct)

    def spin(self, seconds: float) -> None:
        """Let the graph's news in, and buttons."""
        self._link.spin(seconds)
        if self._sim is not None:
            self._sim.tick()
        if self.busy and time.monotonic() > self._until_s:
            self._number += 1  # an answer that comes after all moves nothing
            self.busy, self._starting, self._after = False, None, None
            self.said.append(f"no answer to {self._asked} for {ANSWER_S:g} s")
        if self._told and not self._link.fresh:
            self._tell_task("")
            self.said.append("nothing from the recorder: the instruction is withdrawn")
        while self._wishes:
            self.ask(self._wishes.popleft())

    def ask(self, ask: Ask) -> Deed | None:
        """Do what the operator wants; what that was, None where it means nothing now."""
        paused = self.health is not None and self.health.paused
        step = step_for(ask, self.recording, paused)
        if step in (*_ENDS, Deed.REDO, Deed.PAUSE) and self._told:
            self._tell_task("")  # at the key, whatever the recorder does
        if self.busy and self._call_off(ask):
            return None
        if step is None:
            return None
        if self.busy:
            self.said.append(f"wait: no answer to {self._asked} yet")
            return None
        if step is Deed.QUIT:
            return step
        if step in (Deed.NEXT, Deed.BACK):
            self.tasks.step(1 if step is Deed.NEXT else -1)
        elif step in (Deed.BEGIN, Deed.REDO, Deed.KEEP) and self.fault:
            self.said.append(self.fault)
        elif step in _ONLY_OWN and self._others:
            self.said.append(
                f"{self._others} was not begun here, and may be of another task: d throws it "
                "away, f ends it as a failure"
            )
        elif step in _MARKS and self._last == "":
            self.said.append("nothing is left of the last episode: there is nothing to judge")
        elif step in (Deed.PAUSE, Deed.RESUME) and self._sim is not None:
            self.said.append("the simulated arm's expert knows no pause")
        elif not self.ready:
            self.said.append("no answer from the recorder")
        else:
            self._carry_out(step)
        return step

    def _carry_out(self, step: Deed) -> None:
        if step in (Deed.BEGIN, Deed.KEEP):
            self._instruction = self.tasks.present.instruction
        common = {"instruction": self._instruction, "operator_name": self._operator}
        if step is Deed.BEGIN:
            self._begin(common)
        elif step in _ENDS:
            self._call(
                "stop_episode", functools.partial(self._on_ended, _ENDS[step]), outcome=_ENDS[step]
            )
        elif step is Deed.KEEP:
            done = functools.partial(self._on_ended, "success")
            self._call("keep_last", done, seconds=self._keep_s, outcome="success", **common)
        elif step in _MARKS:
            done = functools.partial(self._on_marked, step)
            self._call("mark_episode", done, episode_id=self._last or "", outcome=_MARKS[step])
        elif step is Deed.REDO and self._sim is not None:  # in a scene that is set up anew
            again = functools.partial(self._on_thrown_away, common)
            self._call("stop_episode", again, step, outcome="discarded")
        elif step is Deed.REDO:
            self._call("redo_episode", self._on_redone, step)
        else:
            starting = step if step is Deed.RESUME else None
            done = functools.partial(self._on_paused, step)
            self._call("pause", done, starting, data=step is Deed.PAUSE)

    def _call_off(self, ask: Ask) -> bool:
        """Cancel the start, retry or resume in progress. False if nothing is in progress.

        An episode that begins is then thrown away, one that goes on is ended or paused as asked.
        """
        step = None
        if self._starting is Deed.RESUME:
            step = step_for(ask, recording=True, paused=False)
        elif self._starting is not None and ask in _CALLED_OFF:
            step = Deed.DISCARD
        if step not in (*_ENDS, Deed.PAUSE):
            return False
        self._after = step
        self.said.append(f"when the recorder answers: {step.value}")
        return True

    def _wait_for(self, what: str, starting: Deed | None) -> Callable[[], bool]:
        """Note what is waited for; the function says whether its answer is still wanted."""
        self.busy, self._asked, self._until_s = True, what, time.monotonic() + ANSWER_S
        self._starting = starting
        self._number += 1
        number = self._number

        def wanted() -> bool:
            if number != self._number:
                self.said.append(f"{what}: answered when nobody waited any more")
                return False
            self.busy, self._starting = False, None
            self._link.heard_s = (
                time.monotonic()
            )  # an answer is news, too: the health comes after it
            return True

        return wanted

    def _call(
        self,
        name: str,
        done: Callable[[Any], None],
        starting: Deed | None = None,
        **fields: Any,
    ) -> None:
        wanted = self._wait_for(f"{RECORDER}/{name}", starting)

        def answered(answer: Any) -> None:
            if not wanted():
                if name in ("stop_episode", "keep_last") and answer.ok:
                    self._note_end(fields["outcome"], answer)
                return
            done(answer)
            if self._after is not None and not self.busy:
                step, self._after = self._after, None
                if self._episode:
                    self._carry_out(step)

        self._link.call(name, answered, **fields)

    def _begin(self, request: Mapping[str, str]) -> None:
        """Start an episode, of a simulated arm when its scene is set up."""
        if self._sim is None:
            self._call("start_episode", self._on_started, Deed.BEGIN, **request)
            return
        episode_id = self._sim.episode_id(self._instruction)
        wanted = self._wait_for("sim_robot_node/reset", Deed.BEGIN)

        def prepared(fault: str) -> None:
            if not wanted():
                return
            if fault or self._after is not None:
                self.said.append(fault or "called off before it began")
                self._after = None
            else:
                named = {**request, "episode_id": episode_id}
                self._call("start_episode", self._on_started, Deed.BEGIN, **named)

        self._sim.prepare(self._instruction, prepared)

    def _on_thrown_away(self, request: Mapping[str, str], answer: Any) -> None:
        self._on_ended("discarded", answer)
        if answer.ok and self._after is None:
            self._begin(request)

    def _on_started(self, answer: Any) -> None:
        if not answer.ok:
            self.said.append(answer.message)
            return
        self._open(answer.episode_id)
        self.said.append(f"{answer.episode_id}: recording")
        if self._direct() and self._sim is not None:
            self._sim.demonstrate(lambda fault: self.said.append(fault) if fault else None)

    def _direct(self) -> bool:
        """Publish the instruction of the episode; False where the arm must not move by it.

        That is where a policy came that would drive, where the recorder is silent, and where the
        operator has called it off meanwhile.
        """
        if self._after is not None:
            return False
        if fault := self.policy_fault or ("" if self._link.fresh else "nothing from the recorder"):
            self.said.append(fault)
            return False
        self._tell_task(self._instruction)
        return True

    def _open(self, episode_id: str) -> None:
        self._episode, self._begun_s, self._seen = episode_id, time.monotonic(), False

    def _closed(self) -> None:
        """The episode is over: nobody is told to do anything any more."""
        self._episode = ""
        if self._told:
            self._tell_task("")
        if self._sim is not None:
            self._sim.cancel()

    def _on_ended(self, outcome: str, answer: Any) -> None:
        own = self._episode
        self._closed()
        if answer.ok:
            self._note_end(outcome, answer)
            return
        self.said.append(answer.message)
        if answer.episode_id:
            self.finished[answer.episode_id], self._last = answer.message, ""
        elif own:  # the recorder had ended it by itself
            self.finished[own], self._last = "unknown", own

    def _note_end(self, outcome: str, answer: Any) -> None:
        """Note what became of an episode that has ended."""
        self._last = "" if outcome == "discarded" else answer.episode_id
        if outcome == "discarded":
            self.said.append(f"{answer.episode_id}: thrown away")
            self.finished[answer.episode_id] = outcome
            return
        fit = answer.verdict == FIT
        text = f"{answer.episode_id}: {outcome}, {answer.duration_s:.1f} s, {answer.verdict}"
        self.said.append(f"{text} ({answer.notes})" if answer.notes else text)
        self.finished[answer.episode_id] = outcome if fit else answer.verdict
        if fit and outcome == "success":
            self.tasks.count(self._instruction, answer.episode_id)

    def _on_marked(self, step: Deed, answer: Any) -> None:
        if not answer.ok:
            self.said.append(answer.message)
            return
        self.said.append(f"{answer.episode_id}: now {_MARKS[step]}")
        self.finished[answer.episode_id] = _MARKS[step]
        self.tasks.uncount(answer.episode_id)

    def _on_redone(self, answer: Any) -> None:
        if not answer.success:
            self.said.append(answer.message)
            return
        if self._episode:
            self.finished[self._episode] = "discarded"
        self._open(answer.message)
        self.said.append(f"{answer.message}: recording again")
        self._direct()

    def _on_paused(self, step: Deed, answer: Any) -> None:
        self.said.append(step.value if answer.success else answer.message)
        if step is Deed.RESUME and answer.success:
            self._direct()

    def _tell_task(self, instruction: str) -> None:
        self._told, self._ever_told = instruction, True
        self._link.tell_task(instruction)

    def _on_policy(self) -> None:
        if self._told and (fault := self.policy_fault):
            self._tell_task("")  # it would drive in the operator's pauses
            self.said.append(f"the instruction is withdrawn: {fault}")

    def _on_health(self, msg: RecordingHealth) -> None:
        if not self._episode:
            return
        if msg.episode_id == self._episode:
            self._seen = True
        elif not self.busy and (self._seen or time.monotonic() - self._begun_s > BEGUN_S):
            # The recorder ended it by itself: no space, or its time is up.
            self.finished[self._episode], self._last = "unknown", self._episode
            self.said.append(f"{self._episode}: ended by the recorder")
            self._closed()

    def _on_buttons(self, now: list[int]) -> None:
        self._wishes.extend(pressed(self._down, now, self._buttons))
        self._down = now
