"""All that runs beside a robot: contract, FAST tokenizer, policy, simulator and their nodes.

Imports run one way; ``tests/policy/test_import_rules.py`` walks the syntax trees and enforces it:

=========  ==============================  ====================================================
Part       may import from this package    and from outside
=========  ==============================  ====================================================
core/      nothing                         standard library, numpy, yaml; PIL, cv2 in functions
fast/      core                            numpy, scipy, tokenizers, numba
models/    core, fast                      torch, transformers, tokenizers, safetensors, PIL
sim/       core                            numpy, mujoco
ros/       core                            rclpy, message packages, mcap
nodes/     core, fast, models, sim, ros    rclpy, message packages, mcap
=========  ==============================  ====================================================

rclpy and message packages appear in ``ros/`` and ``nodes/`` only, torch in ``models/`` only, and
nothing here imports ``roboalign_training``.
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
