"""One training job as a process: started, watched by its metrics, stopped to be resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading

from roboalign_training.shared.run_layout import (
    DATA_FAULT,
    EXIT_FINISHED,
    EXIT_INVALID_CONFIG,
    EXIT_STOPPED,
    METRICS,
    POLICY,
    packaged_config,
    run_folder,
)

EXIT_REASONS = {
    EXIT_FINISHED: "FINISHED",
    EXIT_INVALID_CONFIG: "INVALID_CONFIG",
    EXIT_STOPPED: "STOPPED",
}
"""Exit status of the trainer -> name of a reason; another status is FAILED."""
OUTPUT_LINES = 20


class TrainingJob:
    """`python -m roboalign_training.<kind>` with its folder.

    Attributes:
        command: what is started.
        folder: the run's folder, None where neither configuration nor options name one.
        latest: the newest value of every metric.
    """

    def __init__(
        self, kind: str, config_file: str, overrides: list[str], output_dir: str, resume: bool
    ) -> None:
        """Puts the command together; `start` starts it.

        Args:
            kind: sft or grpo.
            config_file: YAML file; empty: the packaged one.
            overrides: options of the command line.
            output_dir: folder of the run; empty: as in the configuration.
            resume: go on with the unfinished run in it also where its ends (max_steps,
                max_seconds) are others; one of the same configuration goes on in any case.

        Raises:
            ConfigError: the packaged configuration is missing.
        """
        config = config_file or str(packaged_config(kind))
        options = [*overrides]
        if output_dir:
            options += ["--out", output_dir]
        if resume:
            options += ["--resume", "true"]
        self.command = [
            sys.executable,
            "-m",
            f"roboalign_training.{kind}",
            "--config",
            config,
            *options,
        ]
        self.folder = run_folder(config, options)
        self.latest: dict = {}
        self._process: subprocess.Popen | None = None
        self._output = None
        self._read, self._file = 0, -1

    @property
    def run_id(self) -> str:
        """Name of the run: that of its folder."""
        return self.folder.name if self.folder else ""

    @property
    def reason(self) -> str:
        """Why the trainer ended, a name of a REASON_ of Train.action; STOPPED for a signal."""
        if self._is_data_fault():
            return "DATA_FAULT"
        return EXIT_REASONS.get(self.exit_status, "FAILED")

    @property
    def exit_status(self) -> int | None:
        """The trainer's exit status, None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def start(self) -> None:
        """Starts the process in a session of its own: a ctrl-C at the node must not reach it."""
        self._output = tempfile.TemporaryFile()
        path = self.folder / METRICS if self.folder else None
        if path is not None and path.is_file():  # of an earlier run: no progress of this one
            found = path.stat()
            self._file, self._read = found.st_ino, found.st_size
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )

    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def stop(self, timeout_s: float) -> None:
        """Asks for a checkpoint and an end; kills a process that is there after `timeout_s`."""
        self._process.send_signal(signal.SIGINT)
        timer = threading.Timer(timeout_s, self._process.kill)
        timer.daemon = True
        timer.start()

    def read_metrics(self) -> None:
        """Takes the lines written since the last call into `latest`."""
        path = self.folder / METRICS if self.folder else None
        if path is None or not path.is_file():
            return
        with path.open("rb") as stream:
            file = os.fstat(stream.fileno()).st_ino
            if (
                file != self._file
            ):  # a resumed run writes the lines up to its checkpoint into a new file
                self._file, self._read = file, 0
            stream.seek(self._read)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in filter(None, whole.split(b"\n")):
            self.latest.update(json.loads(line))

    def last_output(self) -> str:
        """The last line that the trainer printed, or the end of its traceback."""
        lines = self._last_lines()
        if self.exit_status not in (None, *EXIT_REASONS) and not self._is_data_fault():
            return "\n".join(lines[-OUTPUT_LINES:])
        return lines[-1].strip() if lines else ""

    def _is_data_fault(self) -> bool:
        """Whether the trainer has ended because it cannot use its bags or data set."""
        if self.exit_status in (None, EXIT_FINISHED):
            return False
        return any(line.startswith(DATA_FAULT) for line in self._last_lines()[-1:])

    def _last_lines(self) -> list[str]:
        """The end of what the trainer printed, without empty lines."""
        self._output.seek(0, os.SEEK_END)
        self._output.seek(max(self._output.tell() - 4000, 0))
        text = self._output.read().decode("utf-8", "replace")
        return [line for line in text.splitlines() if line.strip()]

    def checkpoint_path(self) -> str:
        """The finished policy, else the newest checkpoint to resume from, else nothing."""
        if self.folder is None:
            return ""
        if self.exit_status == EXIT_FINISHED:
            return str(self.folder.resolve() / POLICY)
        found = sorted(
            self.folder.resolve().glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1])
        )
        return str(found[-1]) if found else ""
