"""Weights that two folders share, where the file system has links."""

from __future__ import annotations

import os
import shutil


def link_weights(source: str, target: str) -> None:
    """A `copy_function` of `shutil.copytree`: links weights, copies all other files.

    No weight file of a policy is written into once it is there.
    """
    if not source.endswith(".safetensors"):
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
