"""One episode after the other in the simulator.

Tasks by name, stamps that never go back, the outcome. No ROS.
"""

from __future__ import annotations

import json

import numpy as np

from roboalign_policy.sim import SUITES, Expert, make_env

# Simulated time between two episodes, so that nothing of one looks fresh in the next.
EPISODE_GAP_NS = 1_000_000_000


class SimWorld:
    """The tabletop, its present episode and the expert for it.

    Attributes:
        suite, task, seed: of the present episode.
        steps: control steps since the reset.
        begun: the step at which the first command was obeyed; None before that. The time limit
            that `news` tells of counts from there.
        stamp_ns: ns; ROS time of the present observation.
        observation: the present observation.
    """

    def __init__(self, period_ns: int, start_ns: int, linger_steps: int = 0):
        """No episode yet: call :meth:`reset` first.

        Args:
            period_ns: ns; one control period.
            start_ns: ns; stamp of the first observation.
            linger_steps: steps an episode goes on after its success.
        """
        self._period_ns = period_ns
        self._next_start_ns = start_ns
        self._linger_steps = linger_steps
        self._steps_in_success = 0
        self._env = None

    def reset(
        self, suite: str, task: str, seed: int, action_noise: float, now_ns: int | None = None
    ) -> None:
        """Begin an episode.

        Args:
            suite: of the task.
            task: its name; empty: the first of the suite.
            seed: of scene, start pose and noise.
            action_noise: standard deviation in units of the action.
            now_ns: ns; stamp of the first observation; None: a second after the last one, as in
                lock step.

        Raises:
            ValueError: no such suite or task, or a number out of range; nothing was changed.
        """
        if not task and suite in SUITES:
            task = SUITES[suite][0].name
        env = make_env(suite, task, seed, action_noise=action_noise)
        self._env = env
        self.suite, self.task, self.seed = suite, env.task.name, seed
        self.steps = 0
        self.begun: int | None = None
        self._told: set[str] = set()
        self.stamp_ns = self._next_start_ns if now_ns is None else now_ns
        self._next_start_ns = self.stamp_ns + EPISODE_GAP_NS
        self.observation = env.reset()
        self._expert = Expert(env)
        self._goals = env.goals()
        self._steps_in_success = 0

    def step(self, action: np.ndarray, now_ns: int | None = None) -> None:
        """Advance one control period.

        Args:
            action: (7,) float32, units of the action.
            now_ns: ns; stamp of the observation after it; None: one period later.
        """
        self.observation = self._env.step(action)
        self.steps += 1
        self.stamp_ns = self.stamp_ns + self._period_ns if now_ns is None else now_ns
        self._next_start_ns = self.stamp_ns + EPISODE_GAP_NS
        self._goals = self._env.goals()
        self._steps_in_success = self._steps_in_success + 1 if self.success else 0

    def command(self) -> None:
        """Take note that somebody commands the arm."""
        if self.begun is None:
            self.begun = self.steps

    def news(self) -> str:
        """How the episode has ended, once: success, or the time limit; empty in between.

        A success that comes after the limit is told too.
        """
        driven = 0 if self.begun is None else self.steps - self.begun
        limit = self._env.task.max_steps
        seconds = driven * self._period_ns / 1e9
        where = f"{self.suite}/{self.task}, seed {self.seed}"
        if self.success and "success" not in self._told:
            late = f", past the limit of {limit}" if "limit" in self._told else ""
            self._told = {"success", "limit"}
            return f"success after {driven} steps, {seconds:.1f} s{late}: {where}"
        if driven >= limit and "limit" not in self._told:
            self._told.add("limit")
            return f"time limit: not done after {driven} steps, {seconds:.1f} s: {where}"
        return ""

    @property
    def instruction(self) -> str:
        """What the task asks for."""
        return self._env.instruction

    @property
    def success(self) -> bool:
        """True when the task's success check holds now."""
        return all(self._goals.values())

    @property
    def done(self) -> bool:
        """True when the task is done, lingering included, or no step is left."""
        lingered = self.success and self._steps_in_success > self._linger_steps
        return lingered or self.steps >= self._env.task.max_steps

    def picture(self, camera: str) -> np.ndarray:
        """(128, 128, 3) uint8 rgb of the present state: of the observation, else drawn now."""
        images = self.observation.images
        return images[camera] if camera in images else self._env.render(camera)

    def expert_action(self) -> np.ndarray:
        """(7,) float32, units of the action: what the expert does in the present state."""
        return self._expert.act()

    def scene_json(self, ignored: int) -> str:
        """Facts of the present scene as JSON.

        Episode, instruction, goals and whether they are met, objects (positions in m in
        base_link), ignored commands.
        """
        objects = {
            name: {
                "colour": item.colour,
                "shape": item.shape,
                "position": [round(float(v), 5) for v in item.position],
            }
            for name, item in self._env.objects().items()
        }
        facts = {
            "suite": self.suite,
            "task": self.task,
            "seed": self.seed,
            "step": self.steps,
            "stamp_ns": self.stamp_ns,
            "instruction": self.instruction,
            "success": self.success,
            "goals": self._goals,
            "ignored_commands": ignored,
            "objects": objects,
        }
        return json.dumps(facts)
