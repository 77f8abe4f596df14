"""All that runs offline: data sets from bags, SFT, GRPO, evaluation and ``roboalign``.

Imports run one way; ``tests/policy/test_import_rules.py`` walks the syntax trees and enforces it:
this package may import ``roboalign_policy``, never the reverse. rclpy and message packages appear
in ``ros/`` and ``nodes/`` only, so that every job runs where no ROS is installed; torch may appear
anywhere here.
"""

from pathlib import Path

__version__: str


def __getattr__(name: str) -> str:
    """``__version__``: that of ``package.xml``, the one place where it stands.

    Beside the source it is read there; installed, from the metadata that ``setup.py`` made of it.
    """
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    manifest = Path(__file__).parents[1] / "package.xml"
    if manifest.is_file():
        from xml.etree import ElementTree

        return ElementTree.parse(manifest).findtext("version")
    from importlib.metadata import version

    return version(__name__)
