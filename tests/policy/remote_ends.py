"""What the tests of remote inference share: a policy that counts, and a network that fails."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.policy.prediction import ChunkStatus, Prediction

PATIENT = {"timeout_s": 30.0, "connect_timeout_s": 30.0}
VALUES = {"image.front": np.zeros((128, 128, 3), np.uint8), "state.ee": np.ones(7, np.float32)}


class CountingPolicy:
    """Every answer differs: all its actions are the number of the call. `gate` holds it up."""

    thinks, chunking, replan_after_steps = True, "fresh", 0

    def __init__(self, hash="a" * 64):
        self.contract, self.hash = load_contract("sim_panda"), hash
        self.horizon, self.dims = self.contract.action.horizon, len(self.contract.action.dims)
        self.calls, self.threads, self.running, self.most = [], set(), 0, 0
        self.gate = threading.Event()
        self.gate.set()
        self.answer = None
        self.thoughts = []

    def think(self, values, instruction):
        self.thoughts.append((values, instruction, threading.get_ident()))
        return f"thought {len(self.thoughts)}"

    def act(self, values, instruction, remaining=None, thought=None, frozen=0):
        self.running += 1
        self.most = max(self.most, self.running)
        self.calls.append((values, instruction, remaining))
        self.given = (thought, frozen)
        self.threads.add(threading.get_ident())
        number = len(self.calls)
        try:
            assert self.gate.wait(60.0)
            if self.answer is not None:
                return self.answer()
            actions = np.full((self.horizon, self.dims), number, np.float32)
            return Prediction(actions, [number], f"call {number}", ChunkStatus.OK, "", 0.01)
        finally:
            self.running -= 1


class Relay:
    """A network between client and server: TCP, and at will no byte passes either way."""

    def __init__(self, port):
        self._port, self._sockets = port, []
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._open.set()
        self._listener.close()
        for end in self._sockets:
            end.close()

    def cut(self):
        self._open.clear()

    def mend(self):
        self._open.set()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                return
            self._sockets += [near, far]
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source, sink):
        try:
            while self._open.wait() and (data := source.recv(65536)):
                self._open.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def wait_for(condition, timeout_s=20.0):
    """Wait until a condition holds; whether it does."""
    until_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.01)
    return bool(condition())


def first_action(prediction):
    """The number of the call, of a `CountingPolicy`."""
    return float(prediction.actions[0, 0])
