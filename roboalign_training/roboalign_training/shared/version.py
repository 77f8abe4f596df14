"""Name and version of this suite, as results and folders of work bear them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def tool_version() -> str:
    """Name and version of this suite."""
    try:
        return f"roboalign {version('roboalign_training')}"
    except PackageNotFoundError:
        return "roboalign"  # run from a source tree that is not installed
