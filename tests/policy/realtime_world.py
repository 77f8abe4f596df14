"""Simulated time around `core.drive.realtime.Realtime`: camera, timer, model and gate."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from roboalign_policy.core.candidate import CandidateKind
from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.drive.chunk_buffer import ActionSpace
from roboalign_policy.core.drive.cross_fade import make_fade
from roboalign_policy.core.drive.drive import Drive
from roboalign_policy.core.drive.gate_watch import NO_GATE, GateView
from roboalign_policy.core.drive.pacing import Pace
from roboalign_policy.core.drive.realtime import Realtime, Seen
from roboalign_policy.core.drive.setpoints import control_ticks, make_set_points
from roboalign_policy.core.drive.types import DriveSettings
from roboalign_policy.core.frames.frames import Frame, Missing
from roboalign_policy.core.policy.accept import ChunkError

CLOSED = GateView(False, False, "gate: stopped")
TAKEN = GateView(True, True, "gate: teleoperation drives")
TINY_S = 1e-4
CONTRACTS = {name: load_contract(name) for name in ("sim_panda", "so101")}


class World:
    """Runs in steps of 0.1 ms; keeps what was sent as (time in s, Output)."""

    def __init__(
        self, contract="sim_panda", *, rate_hz=10.0, camera_hz=30.0, latency_s=0.05, horizon=8,
        transport_s=0.0, guarded=True, acceleration=None, send="step", **settings,
    ):  # fmt: skip
        """Start at rest; ``transport_s``: s from an image's stamp to its arrival."""
        self.contract = self._contract(contract, rate_hz, acceleration, send)
        action = self.contract.action
        space = ActionSpace(action.names, action.low, action.high, horizon)
        values = DriveSettings(lockstep=False, step_s=1.0 / rate_hz, **settings)
        bounds = (action.low, action.high)
        fade = (
            make_fade(action.names, action.control_mode, 2, *bounds) if not values.sync else None
        )
        self.drive = Drive(space, values, fade)
        self.drive.activate()
        ticks, _ = control_ticks(self.contract, 0.0)
        self.pace = Pace(1.0 / rate_hz, ticks)
        points = make_set_points(self.contract, ticks)
        self.realtime = Realtime(self.drive, points, self.pace, guarded=guarded)
        self.gate, self.latency_s, self.camera_s = NO_GATE, latency_s, 1.0 / camera_hz
        self.answer_with = lambda request: self.chunk()
        self.think_s, self.thinking, self.thoughts = 0.2, None, []
        self.missing = ""
        self.transport_s, self.exposures_s = transport_s, []
        self.camera_clock_ns = 0  # ns; how far the camera's own clock is ahead
        self.now_s, self.image_s, self.next_image_s, self.next_tick_s = 0.0, -1.0, 0.0, 0.0
        self.pending = None
        self.sent, self.requests, self.ticks = [], [], 0
        self.asked_images_s = []  # stamp of the newest image at each request

    @staticmethod
    def _contract(name, rate_hz, acceleration, send):
        contract = CONTRACTS[name]
        action = contract.action
        dims = tuple(replace(dim, max_acceleration=acceleration) for dim in action.dims)
        commands = tuple(replace(command, send=send) for command in action.commands)
        return replace(
            contract, rate_hz=rate_hz, action=replace(action, dims=dims, commands=commands)
        )

    def chunk(self, value=0.1, status="ok"):
        """A prediction whose every value is ``value``."""
        shape = (self.drive.space.horizon, len(self.drive.space.names))
        return SimpleNamespace(
            actions=np.full(shape, value, np.float32), status=status, detail="why"
        )

    def start(self, patient=False, max_chunks=0):
        self.realtime.start("go", self.now_s, max_chunks, patient)

    def stop(self, reason="cancelled", message="the client cancelled"):
        self.drive.stop(reason, message)
        self._send(self.realtime.settle())

    def run(self, seconds):
        """Let time pass; returns what was sent meanwhile as (time in s, Output)."""
        before, end_s = len(self.sent), self.now_s + seconds
        while self.now_s < end_s - TINY_S / 2:
            self._moment()
            self.now_s += TINY_S
        return self.sent[before:]

    def kinds(self, seconds):
        return [output.kind for _, output in self.run(seconds)]

    def times_asked(self):
        """When the model was asked, in s."""
        return [asked_s for asked_s, _ in self.requests]

    def motions(self, sent=None):
        """Times and values of what moves the arm."""
        sent = self.sent if sent is None else sent
        moving = [(at_s, o) for at_s, o in sent if o.kind is CandidateKind.MOTION]
        return np.array([at_s for at_s, _ in moving]), [o for _, o in moving]

    def _moment(self):
        if self.now_s >= self.next_image_s + self.transport_s - TINY_S / 2:
            self.image_s, self.next_image_s = self.next_image_s, self.next_image_s + self.camera_s
            self.exposures_s.append(self.image_s)
            self._ask_at_once()
            if self.realtime.begins(self.now_s):
                self.next_tick_s = self.now_s + 1.0 / self.pace.rate_hz
                self._tick()
        if self.pending and self.now_s >= self.pending[0] - TINY_S / 2:
            self._answer(self.pending[1])
        if self.thinking and self.now_s >= self.thinking[0] - TINY_S / 2:
            self._think(self.thinking[1])
        if self.now_s >= self.next_tick_s - TINY_S / 2:
            self.next_tick_s += 1.0 / self.pace.rate_hz
            self._tick()

    def _ask_at_once(self):
        self._submit(self.realtime.image(self.gate, self._see, self.now_s))
        self._send(self.realtime.settle())

    def _think(self, request):
        self.thinking = None
        self.thoughts.append((self.now_s, request))
        text = f"thought {len(self.thoughts)}"
        try:
            self.realtime.thought(request, text, round(self.now_s * 1e9), self.now_s)
        except ChunkError:
            pass
        self._send(self.realtime.settle())
        self._ask_at_once()

    def _answer(self, request):
        self.pending = None
        prediction, now_ns = self.answer_with(request), round(self.now_s * 1e9)
        if isinstance(prediction, str):
            self.drive.fail(prediction)
        else:
            try:
                self.realtime.answer(request, prediction, now_ns, self.latency_s, self.now_s)
            except ChunkError:
                pass
        self._send(self.realtime.settle())
        if self.realtime.ready(self.now_s):
            self.next_tick_s = self.now_s + 1.0 / self.pace.rate_hz
            self._tick()

    def _tick(self):
        self.drive.watch(self.now_s)
        self._send(self.realtime.settle())
        self.ticks += self.drive.running
        tick = self.realtime.tick(self.gate, self._see, self.now_s)
        self._send(tick.output)
        self._submit(tick.asked)

    def _see(self):
        now_ns = round(self.now_s * 1e9)
        if self.missing:
            return Seen(Missing(now_ns, {"image.front": self.missing}), 0, 0)
        taken_ns = round(self.image_s * 1e9)
        return Seen(Frame(now_ns, {}, {}), taken_ns + self.camera_clock_ns, taken_ns)

    def _submit(self, asked):
        if asked.chunk is not None:
            self.requests.append((self.now_s, asked.chunk))
            self.asked_images_s.append(self.image_s)
            self.pending = (self.now_s + self.latency_s, asked.chunk)
        if asked.thought is not None:
            assert self.thinking is None
            self.thinking = (self.now_s + self.think_s, asked.thought)

    def _send(self, output):
        if output is not None:
            self.sent.append((self.now_s, output))


def driving(**options):
    """A world whose arm has moved for a while."""
    world = World(**options)
    world.start()
    world.run(0.5)
    assert CandidateKind.MOTION in [output.kind for _, output in world.sent]
    return world
