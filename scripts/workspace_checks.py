"""Looks whether a virtual environment is sound, and mends the CMake files of the ROS wheels in it.

Runs on the standard library alone.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
from pathlib import Path


def installation_faults(site: Path) -> list[str]:
    """What is missing or damaged of the installed packages, by pip's own lists of their files.

    Args:
        site: the site-packages folder.
    """
    faults = []
    for record in sorted(site.glob("*.dist-info/RECORD")):
        with record.open(newline="") as lines:
            for name, _, size in csv.reader(lines):
                # Byte code comes and goes; CMake files are changed by `patch_cmake_files`.
                if not size or name.endswith((".pyc", ".cmake")) or os.path.isabs(name):
                    continue
                try:
                    found = os.stat(f"{site}/{name}").st_size
                except FileNotFoundError:
                    faults.append(f"{site}/{name} is missing")
                else:
                    if found != int(size):
                        faults.append(f"{site}/{name} has {found} bytes, expected {size}")
    return faults


def environment_faults(venv: Path) -> list[str]:
    """Why a virtual environment is broken, whatever its stamps say.

    Args:
        venv: its folder.

    Returns:
        One line a fault; none when the environment is sound, or not there at all.
    """
    if not venv.exists():
        return []
    try:
        subprocess.run([venv / "bin/python", "-S", "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return [f"its Python does not start: {error}"]
    sites = list(venv.glob("lib/python3.*/site-packages"))
    if len(sites) != 1:
        return [f"found {len(sites)} site-packages folders, expected one"]
    faults = installation_faults(sites[0])
    for path in sites[0].glob("setuptools-*.dist-info"):
        if int(path.name.split("-")[1].split(".")[0]) >= 80:
            faults.append(f"found {path.name}, expected setuptools < 80 (colcon needs it)")
    return faults


def patch_cmake_files(share: Path, include: str, numpy_include: str) -> int:
    """Puts this machine's folders into the CMake files of the ROS wheels.

    As they come, they name folders of the machine that built the wheels.

    Args:
        share: the environment's share folder.
        include: folder of Python.h.
        numpy_include: folder of numpy/arrayobject.h.

    Returns:
        The number of files changed; 0 when it was done before.
    """
    python = re.compile(r"/opt/python/cp\d+-cp\d+/include/python3\.\d+")
    numpy = re.compile(
        r"/opt/python/cp\d+-cp\d+/lib/python3\.\d+/site-packages/numpy/_core/include"
    )
    changed = 0
    for path in share.glob("*/cmake/*.cmake"):
        text = path.read_text()
        patched = python.sub(lambda _: include, text)
        patched = numpy.sub(lambda _: numpy_include, patched)
        if patched != text:
            path.write_text(patched)
            changed += 1
    return changed
