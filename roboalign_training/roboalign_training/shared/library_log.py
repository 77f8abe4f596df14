"""What Transformers, TRL and others print goes to the run's log, not between its own lines."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import logging as transformers_logging

from roboalign_training.shared.write_errors import writing

_MOST = 100_000  # records kept until there is a file


class _LogFile(logging.FileHandler):
    """A file that ends the run where it cannot be written; others print a traceback and go on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of the library
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        with writing(Path(self.baseFilename), "what the libraries said"):
            raise error


class LibraryLog:
    """Collects what libraries log, from the first line on; a file takes it when there is one."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.handler = logging.handlers.MemoryHandler(
            _MOST, flushLevel=logging.CRITICAL + 1, flushOnClose=False
        )

    def to_file(self, path: Path) -> None:
        """Write everything so far, and from now on, to the end of a file."""
        file = _LogFile(path, delay=True, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.handler.setTarget(file)
        self.handler.capacity = 1
        self.handler.flush()
        self.path = path


@contextmanager
def library_log() -> Iterator[LibraryLog]:
    """Inside, libraries neither print nor show bars of their own."""
    log, root = LibraryLog(), logging.getLogger()
    had_bars = transformers_logging.is_progress_bar_enabled()
    root.addHandler(log.handler)
    logging.captureWarnings(True)
    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    transformers_logging.disable_progress_bar()
    try:
        yield log
    finally:
        # Every record was written when it came; on a full disk the last one cannot be even now.
        with contextlib.suppress(OSError):
            log.handler.flush()
            if log.handler.target is not None:
                log.handler.target.close()
        root.removeHandler(log.handler)
        logging.captureWarnings(False)
        transformers_logging.enable_default_handler()
        transformers_logging.disable_propagation()
        if had_bars:
            transformers_logging.enable_progress_bar()
