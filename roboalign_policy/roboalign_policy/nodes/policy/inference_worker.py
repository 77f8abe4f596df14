"""The threads in which a policy is loaded and asked, so that no callback waits for a model."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from roboalign_policy.core.drive.thoughts import ThoughtRequest
from roboalign_policy.core.drive.types import ModelRequest
from roboalign_policy.core.policy.prediction import Prediction
from roboalign_policy.core.policy.protocol import Policy


@dataclass(frozen=True)
class WorkerAnswer:
    """What came of a request: ``result``, or ``error``, the traceback of what was raised."""

    request: Any
    result: Any
    error: str
    elapsed_s: float


def ask_chunk(policy: Policy, request: ModelRequest) -> Prediction:
    """The chunk that a request asks for."""
    thought = None if request.thought is None else request.thought.text
    return policy.act(
        request.values,
        request.instruction,
        remaining=request.remaining,
        thought=thought,
        frozen=request.frozen,
    )


def ask_thought(policy: Policy, request: ThoughtRequest) -> str:
    """The thought that a request asks for."""
    return policy.think(request.values, request.instruction)


class InferenceWorker:
    """One thread, one policy, one request at a time.

    The owner calls everything but ``notify`` from one thread. ``notify`` is called in the worker's
    thread whenever an answer is ready to be fetched with `poll`; it must be quick and thread-safe
    (a guard condition's trigger).
    """

    def __init__(
        self,
        notify: Callable[[], None],
        ask: Callable[[Policy, Any], Any] = ask_chunk,
        name: str = "inference",
    ) -> None:
        """Start the thread, a daemon: a model that hangs cannot keep the process alive.

        Args:
            notify: see above.
            ask: puts a request to the policy, in the thread.
            name: of the thread.
        """
        self._notify, self._put = notify, ask
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[WorkerAnswer] = queue.SimpleQueue()
        self._policy: Policy | None = None
        self._owner = True
        self._busy = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """True from `submit` until the answer is fetched."""
        return self._busy

    def load(self, factory: Callable[[], Policy]) -> Policy:
        """Run ``factory`` in the thread, wait for it and keep its policy.

        Models are loaded where they will run: torch keeps its thread settings and CUDA context by
        thread.

        Raises:
            Exception: whatever ``factory`` raised.
        """
        loaded: Future[Policy] = Future()

        def job() -> None:
            try:
                loaded.set_result(factory())
            except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
                loaded.set_exception(error)

        self._jobs.put(job)
        self._policy = loaded.result()
        return self._policy

    def share(self, policy: Policy) -> None:
        """Ask a policy that another worker has loaded, and closes."""
        self._policy, self._owner = policy, False

    def submit(self, request: Any) -> None:
        """Put a request to the policy.

        Raises:
            RuntimeError: while another request is being answered, or before `load`.
        """
        if self._policy is None or self._busy:
            loaded = self._policy is not None
            raise RuntimeError(f"inference worker: busy {self._busy}, loaded {loaded}")
        self._busy = True
        self._jobs.put(lambda: self._ask(request))

    def poll(self) -> WorkerAnswer | None:
        """Fetch the answer if there is one."""
        try:
            answer = self._answers.get_nowait()
        except queue.Empty:
            return None
        self._busy = False
        return answer

    def close(self, timeout_s: float = 5.0) -> bool:
        """Stop after the present job; False when it did not end within ``timeout_s``."""
        self._closed.set()
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        if self._owner and hasattr(self._policy, "close"):  # one on another machine
            self._policy.close()

    def _ask(self, request: Any) -> None:
        started_s = time.monotonic()
        result, error = None, ""
        try:
            result = self._put(self._policy, request)
        except Exception:  # noqa: BLE001 - foreign code: all it raises is reported as a fault
            error = traceback.format_exc()
        self._answers.put(WorkerAnswer(request, result, error, time.monotonic() - started_s))
        if not self._closed.is_set():
            self._notify()
