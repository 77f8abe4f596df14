"""Around a trainer's steps: metrics, progress, saving by the clock, ending by clock or signal."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from roboalign_training.learning.arguments import Stopped
from roboalign_training.learning.augmentation import Augmentation
from roboalign_training.learning.run_folder import RunFolder

LINE_EVERY_S = 30.0
"""Between two lines of progress where there is no terminal to show a bar on, s."""


class RunCallback(TrainerCallback):
    """Writes metrics, shows progress, saves by the clock, ends by the clock or when told.

    With a time budget the learning-rate schedule follows whichever of steps and seconds is nearer
    its end, so that a slow machine ends with the same small learning rate as a fast one.
    """

    def __init__(
        self,
        record: RunFolder,
        stop: Callable[[], bool],
        *,
        max_seconds: float | None,
        save_minutes: float,
        elapsed_before_s: float = 0.0,
        quiet: bool = False,
        line_every_s: float = LINE_EVERY_S,
    ) -> None:
        self.record = record
        self.lines = quiet and record.writes
        self.line_every_s = line_every_s
        self._note = ""
        self._said = -math.inf
        self.stop = stop
        self.max_seconds = max_seconds or math.inf
        self.save_minutes = save_minutes
        self.elapsed_before_s = elapsed_before_s
        self.ended_by = "steps"
        self._started = self._saved = time.monotonic()
        self._first_step = 0
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
            disable=quiet or not record.writes,
            refresh_per_second=2,
        )  # fmt: skip

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self.elapsed_before_s + time.monotonic() - self._started

    def on_train_begin(self, args, state, control, lr_scheduler=None, **kwargs):
        """Start the clock and the progress bar."""
        self._started = self._saved = time.monotonic()
        self._first_step = state.global_step
        scheduler = getattr(lr_scheduler, "scheduler", lr_scheduler)  # accelerate wraps it
        if math.isfinite(self.max_seconds):
            scheduler.lr_lambdas = [
                self._by_clock(rule, state.max_steps) for rule in scheduler.lr_lambdas
            ]
        self._bar.start()
        self._task = self._bar.add_task(
            "training", total=state.max_steps, completed=state.global_step, note=""
        )
        self.record.append(stage="training", step=state.global_step, total_steps=state.max_steps)

    def on_step_end(self, args, state, control, **kwargs):
        """End or save where it is time."""
        self._bar.update(self._task, completed=state.global_step)
        if self.lines and time.monotonic() - self._said >= self.line_every_s:
            self._said = time.monotonic()
            note = f", {self._note}" if self._note else ""
            left = max(self._remaining_s(state), 0.0)
            print(
                f"step {state.global_step:,} of {state.max_steps:,}{note}, {left:.0f} s left",
                flush=True,
            )
        if self.stop():
            self.ended_by = "signal"
        elif self.elapsed_s >= self.max_seconds:
            self.ended_by = "time"
        if self.ended_by != "steps":
            control.should_training_stop = True
        if self.ended_by == "signal" or time.monotonic() - self._saved > 60.0 * self.save_minutes:
            control.should_save = True
            self._saved = time.monotonic()

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Write what the trainer logs."""
        elapsed, per_step = self.elapsed_s, self._per_step_s(state)
        remaining = self._remaining_s(state)
        samples = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        values = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        self.record.append(
            stage="training",
            step=state.global_step,
            total_steps=state.max_steps,
            elapsed_s=round(elapsed, 3),
            remaining_s=round(max(remaining, 0.0), 3),
            samples_per_s=round(samples / max(per_step, 1e-9), 3),
            **{k: v for k, v in values.items() if k not in ("step", "total_steps")},
        )
        shown = [f"{name} {values[name]:.3f}" for name in ("loss", "reward") if name in values]
        if shown:
            self._note = ", ".join(shown)
            self._bar.update(self._task, note=self._note)

    def on_save(self, args, state, control, **kwargs):
        """Note the checkpoint, with the time that is behind it."""
        self.record.append(
            stage="saving", step=state.global_step, elapsed_s=round(self.elapsed_s, 3)
        )

    def on_train_end(self, args, state, control, **kwargs):
        """Take the progress bar away."""
        self._bar.stop()

    def _per_step_s(self, state) -> float:
        """Seconds a step, of those since training began or went on."""
        done = max(state.global_step - self._first_step, 1)
        return (time.monotonic() - self._started) / done

    def _remaining_s(self, state) -> float:
        """Seconds to the end by steps or by the clock, whichever is nearer."""
        by_steps = (state.max_steps - state.global_step) * self._per_step_s(state)
        return min(by_steps, self.max_seconds - self.elapsed_s)

    def _by_clock(
        self, rule: Callable[[float], float], max_steps: int
    ) -> Callable[[float], float]:
        return lambda step: rule(
            max(step, max_steps * min(self.elapsed_s / self.max_seconds, 1.0))
        )


class EpochCallback(TrainerCallback):
    """Tells an augmentation the epoch, also that in which a resumed run goes on."""

    def __init__(self, augmentation: Augmentation) -> None:
        self._augmentation = augmentation

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Before the first batch of the epoch is made."""
        self._augmentation.epoch = int(state.epoch or 0)


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Inside, SIGINT or SIGTERM asks for a save and a stop after the step.

    A second SIGINT interrupts at once.

    Yields:
        A function that says whether a stop was asked for.
    """
    asked = []

    def ask(number, frame):
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Inside, SIGINT or SIGTERM raises `Stopped`; for what is done by other processes.

    Raises:
        Stopped: a signal came.
    """

    def stop(number, frame):
        raise Stopped("while development episodes are driven; the same command goes on")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_quiet() -> bool:
    """Whether a progress bar would only fill a log file."""
    return not sys.stderr.isatty()
