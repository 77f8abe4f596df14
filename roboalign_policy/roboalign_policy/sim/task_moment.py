"""Moments in the middle of tasks: a picture of one, and what the expert's gripper does next.

No physics and no demonstration: what is done of the task is put in place, the arm stands somewhere
on the expert's way, and a hundred of them cost as much as a few steps of an episode.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from roboalign_policy.kinematics.rotation import rotvec_from_rotation
from roboalign_policy.sim.arm_model import HOME_JOINTS_RAD
from roboalign_policy.sim.env import POSITION_UNIT_M, START_M, WORKSPACE_M, Observation
from roboalign_policy.sim.expert import HOVER_M, PULLED_OUT, funnel
from roboalign_policy.sim.goals import Goal, PutOn
from roboalign_policy.sim.instructions import random_instruction
from roboalign_policy.sim.model import CUBE_HALF_M
from roboalign_policy.sim.next_stop import HANDLE_M, HOLDING_M, OPEN_M, next_stop
from roboalign_policy.sim.random_scene import SceneSample, scene_sample
from roboalign_policy.sim.scene import Scene
from roboalign_policy.sim.tasks import SUITES, Task

_FINISHED_SHARE = 0.2  # as of the demonstrations' frames
_CARRIED_SHARE = 0.5
_MISSED_SHARE = 0.1  # of the grasps: the cube lies beside the place where it was let go
_EMPTY_SHARE = 0.1  # of the carried ones: the gripper is closed and holds nothing
_STRAY_UNITS = (0.05, 0.05, 0.3)  # noise of a way in action units, one of them drawn for each
_PUSH_RATE = 0.03
_PUSH_M = 0.04
_PLACED_M = 0.006  # scatter of what has been put down, per axis
_MISSED_M = (0.05, 0.1)
_CLEAR_M = 0.06
_GRIP_M = 0.002  # scatter of a cube in the grip, per axis
_GRIP_UP_M = 0.012  # how far above a cube's centre the fingers may hold it
_MOST_STEPS = 60


@dataclasses.dataclass(frozen=True)
class Asked:
    """Something to be done in a scene, and what its expert does next.

    Attributes:
        instruction: in words.
        goals: what it asks for, in order.
        done: how many goals come before the one that is worked at.
        then: what the sensors say, without pictures, when the gripper's word next changes, or when
            the arm is at rest above the finished task.
    """

    instruction: str
    goals: tuple[Goal, ...]
    done: int
    then: Observation


@dataclasses.dataclass(frozen=True)
class TaskMoment:
    """A moment of a task.

    Attributes:
        task: what is to be done.
        done: how many of its goals are met.
        now: what the sensors say.
        then: as of `Asked`, for the task.
        scene: what is true of the front picture.
        others: other things that could be asked for in the same picture.
    """

    task: Task
    done: int
    now: Observation
    then: Observation
    scene: SceneSample
    others: tuple[Asked, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the closed gripper holds what the task is about, be it the drawer's handle."""
        goal = None if self.done == len(self.task.goals) else self.task.goals[self.done]
        if isinstance(goal, PutOn):
            return self.scene.held == goal.cube
        return goal is not None and not self.scene.gripper_open


@dataclasses.dataclass(frozen=True)
class _Ways:
    """Where the tool is, (3,) m, with the gripper's width in m.

    grip: from a held cube's centre to the tool, (3,) m; None: none is held.
    """

    tool: np.ndarray
    width: float = OPEN_M
    grip: np.ndarray | None = None


@functools.lru_cache(maxsize=1)
def _scene() -> Scene:
    return Scene()


def random_moment(seed: int, cameras: tuple[str, ...] = ("front",), others: int = 0) -> TaskMoment:
    """A random moment of a random task; suites are equally likely.

    A few show a mistake: a cube beside its place, a closed gripper that holds nothing.

    Args:
        seed: the same one gives the same moment and pixels.
        cameras: whose pictures `now` has.
        others: how many other things to ask for; fewer where the scene does not allow them.

    Raises:
        ValueError: the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed: found {seed}, expected 0 or more")
    rng = np.random.default_rng(seed)
    tasks = list(SUITES.values())[int(rng.integers(len(SUITES)))]
    task = tasks[int(rng.integers(len(tasks)))]
    scene = _scene()
    start = np.array([rng.uniform(*limits) for limits in START_M])
    scene.arrange(task.layout(rng), np.asarray(HOME_JOINTS_RAD), OPEN_M)
    scene.forward()
    count = len(task.goals)
    done = count if rng.random() < _FINISHED_SHARE else int(rng.integers(count))
    for goal in task.goals[:done]:
        start = _meet(goal, scene, rng)
    if done == count:
        ways = _away(start, rng)
    elif isinstance(task.goals[done], PutOn):
        ways = _put_on(task.goals[done], scene, start, rng, may_miss=task.relation is None)
    else:
        ways = _open_drawer(scene, start, rng)
    scene.set_arm(scene.solve_arm(ways.tool), ways.width)
    scene.forward()
    held = None
    if ways.grip is not None:
        held = task.goals[done].cube
        scene.move_cube(held, scene.tool_position - ways.grip)
        scene.forward()
    now = Observation(
        time_ns=0,
        joints=scene.joints,
        gripper_width=scene.gripper_width_m,
        ee_position=scene.tool_position,
        ee_rotvec=rotvec_from_rotation(scene.tool_rotation),
        images={camera: scene.render(camera) for camera in cameras},
    )
    front = now.images["front"] if "front" in cameras else scene.render()
    supports = {g.cube: g.support for g in task.goals[:done] if isinstance(g, PutOn)}
    asked = _ask(task.instruction, task.goals, scene, now)
    return TaskMoment(
        task,
        asked.done,
        now,
        asked.then,
        scene_sample(scene, front, held, supports),
        _ask_others(others, task.instruction, scene, now, rng),
    )


def _ask(instruction: str, goals: tuple[Goal, ...], scene: Scene, now: Observation) -> Asked:
    stop = next_stop(scene, goals)
    then = dataclasses.replace(
        now,
        joints=scene.kinematics.inverse(stop.tool, np.eye(3), now.joints),
        gripper_width=stop.width,
        ee_position=stop.tool,
        images={},
    )
    return Asked(instruction, goals, stop.done, then)


def _ask_others(
    count: int, instruction: str, scene: Scene, now: Observation, rng: np.random.Generator
) -> tuple[Asked, ...]:
    """Other things to ask for, none of them twice."""
    asked = {instruction: None}
    for _ in range(3 * count):
        if len(asked) > count:
            break
        drawn = random_instruction(scene, rng)
        if drawn is not None and drawn[0] not in asked:
            asked[drawn[0]] = _ask(*drawn, scene, now)
    return tuple(other for other in asked.values() if other is not None)


def _meet(goal: Goal, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Bring a goal about; (3,) m, where the tool then is."""
    if isinstance(goal, PutOn):
        place = goal.place(scene) + (*rng.normal(0.0, _PLACED_M, 2), 0.0)
        scene.move_cube(goal.cube, place)
        scene.forward()
        return place
    scene.set_drawer(rng.uniform(PULLED_OUT, 1.0))
    scene.forward()
    return scene.objects()["drawer"].position


def _away(start: np.ndarray, rng: np.random.Generator) -> _Ways:
    """Rise from what was done last."""
    ahead = np.array([*start[:2], max(HOVER_M, start[2])])
    return _Ways(start + rng.choice([rng.random(), 1.0]) * (ahead - start))


def _put_on(
    goal: PutOn, scene: Scene, start: np.ndarray, rng: np.random.Generator, may_miss: bool
) -> _Ways:
    """Grasp a cube, or carry it to its place."""
    carried = rng.random() < _CARRIED_SHARE
    cube = scene.objects()[goal.cube].position
    if not carried:
        if may_miss and rng.random() < _MISSED_SHARE:
            start, cube = _miss(goal, scene, rng)
        return _Ways(_on_the_way(start, cube, rng))
    grip = _grip(rng)
    tool = _on_the_way(cube + grip, goal.place(scene) + grip, rng)
    if rng.random() >= _EMPTY_SHARE or np.linalg.norm(tool - cube) < _CLEAR_M:
        return _Ways(tool, HOLDING_M, grip)
    return _Ways(tool, 0.0)


def _miss(goal: PutOn, scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Lay a cube on the table beside its place; (3,) m, where it was let go and where it lies."""
    place = goal.place(scene)
    others = [o.position for n, o in scene.objects().items() if n not in (goal.cube, goal.support)]
    for _ in range(20):
        turn, far = rng.uniform(0.0, 2 * np.pi), rng.uniform(*_MISSED_M)
        lies = np.array([*(place[:2] + far * np.array([np.cos(turn), np.sin(turn)])), CUBE_HALF_M])
        if all(np.linalg.norm(lies[:2] - other[:2]) > _CLEAR_M for other in others):
            scene.move_cube(goal.cube, lies)
            scene.forward()
            return place, lies
    return place, scene.objects()[goal.cube].position


def _open_drawer(scene: Scene, start: np.ndarray, rng: np.random.Generator) -> _Ways:
    """Grasp the handle, or pull it a part of its way."""
    handle = scene.objects()["drawer"].position
    if rng.random() >= _CARRIED_SHARE:
        return _Ways(_on_the_way(start, handle, rng))
    scene.set_drawer(float(rng.uniform(0.0, PULLED_OUT)))
    scene.forward()
    return _Ways(scene.objects()["drawer"].position + _grip(rng), HANDLE_M)


def _grip(rng: np.random.Generator) -> np.ndarray:
    """From what the fingers hold to the tool, (3,) m."""
    return np.array([*rng.uniform(-_GRIP_M, _GRIP_M, 2), rng.uniform(0.0, _GRIP_UP_M)])


def _on_the_way(start: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A place (3,) m on the expert's way from `start` to `target`."""
    places, tool = [start], start
    stray = POSITION_UNIT_M * float(rng.choice(_STRAY_UNITS))
    for _ in range(_MOST_STEPS):
        move, arrived = funnel(tool, target)
        if arrived:
            break
        step = _within_a_step(move) + rng.normal(0.0, stray, 3)
        if rng.random() < _PUSH_RATE:
            step += rng.uniform(-_PUSH_M, _PUSH_M, 3) * (1.0, 1.0, 0.0)
        tool = np.clip(tool + step, *np.transpose(WORKSPACE_M))
        places.append(tool)
    return places[int(rng.integers(len(places)))]


def _within_a_step(move: np.ndarray) -> np.ndarray:
    return np.clip(move, -POSITION_UNIT_M, POSITION_UNIT_M)
