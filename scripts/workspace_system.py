"""What the set-up asks of the machine: platform, Python, a ROS 2 installation, packages.

Runs on the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workspace_steps import SetupError, run_logged

PYTHONS = ((3, 10), (3, 13))  # oldest and newest minor version that every wheel exists for
OLDEST_ROS = "jazzy"  # names of distributions are in alphabetical order
ROS_PACKAGES = (  # of a ROS below /opt/ros: what the suite runs, builds and is launched with
    "ament_cmake",
    "diagnostic_msgs",
    "geometry_msgs",
    "launch_ros",
    "lifecycle_msgs",
    "rclpy",
    "ros2launch",
    "rosgraph_msgs",
    "rosidl_default_generators",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "trajectory_msgs",
)
RENDERING_PACKAGES = ("libegl1", "libegl-mesa0", "libgl1", "libgl1-mesa-dri", "libosmesa6")
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True)
class Python:
    """An interpreter that a virtual environment can be made from."""

    executable: str
    version: tuple[int, int]


@dataclass(frozen=True)
class Need:
    """Something the machine lacks.

    Attributes:
        what: its name for a person.
        packages: Debian packages that bring it; empty where apt cannot help.
    """

    what: str
    packages: tuple[str, ...]


def check_platform() -> None:
    """Refuses machines that no wheels exist for.

    Raises:
        SetupError: if this is not x86-64 Linux.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        found = f"{platform.system()} on {platform.machine()}"
        raise SetupError(f"found {found}, expected Linux on x86_64")


def find_ros(root: Path = Path("/opt/ros"), preferred: str | None = None) -> Path | None:
    """The ROS 2 installation to use: the one that is sourced, else the newest.

    Args:
        root: folder that holds one folder a distribution.
        preferred: name of the distribution that is sourced in this shell, if any.

    Returns:
        The distribution's folder; None where there is none from Jazzy on.
    """
    found = sorted(
        path.parent for path in root.glob("*/setup.bash") if path.parent.name >= OLDEST_ROS
    )
    named = [path for path in found if path.name == preferred]
    return (named or found or [None])[-1]


def choose_python(ros: Path | None) -> Python:
    """The interpreter for the virtual environment: ROS's own, else the one that runs this.

    Raises:
        SetupError: if its version is not supported or ROS's interpreter is missing.
    """
    if ros is None:
        version = sys.version_info[:2]
        # sys.executable may belong to a virtual environment, even the one that is to be replaced.
        executable = f"{sys.base_prefix}/bin/python{version[0]}.{version[1]}"
        if not os.access(executable, os.X_OK):
            executable = sys.executable
    else:
        folders = sorted(ros.glob("lib/python3.*"))
        if len(folders) != 1:
            raise SetupError(f"{ros}/lib: found {len(folders)} python3.* folders, expected one")
        version = (3, int(folders[0].name.split(".")[1]))
        executable = f"/usr/bin/python3.{version[1]}"
        if not os.access(executable, os.X_OK):
            raise SetupError(f"{ros} was built for {executable}, which is missing")
    if not PYTHONS[0] <= version <= PYTHONS[1]:
        raise SetupError(
            f"{executable}: found Python {version[0]}.{version[1]}, expected 3.10 to 3.13; "
            "name another one with `make setup PYTHON=python3.12`"
        )
    return Python(executable, (version[0], version[1]))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _renders() -> bool:
    """Whether MuJoCo has what it draws with: OSMesa, or EGL with a driver behind it."""
    drivers = ("dri/swrast_dri.so", "dri/kms_swrast_dri.so", "libgallium-*.so")
    mesa = _loads("libEGL_mesa.so.0") and any(any(LIBRARIES.glob(name)) for name in drivers)
    egl = _loads("libEGL.so.1") and _loads("libGL.so.1")
    return _loads("libOSMesa.so.8") or (egl and (mesa or _loads("libEGL_nvidia.so.0")))


def missing_needs(python: Python, ros: Path | None) -> list[Need]:
    """What the machine lacks, in the order in which it is needed."""
    needs = []
    name = f"python{python.version[0]}.{python.version[1]}"
    packaged = python.executable.startswith("/usr/bin/")

    def python_has(test: str) -> bool:
        return (
            subprocess.run([python.executable, "-c", test], stderr=subprocess.DEVNULL).returncode
            == 0
        )

    if not python_has("import venv, ensurepip"):
        needs.append(Need(f"venv of {python.executable}", (f"{name}-venv",) if packaged else ()))
    header = "import os, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h')"
    if not python_has(header):
        needs.append(
            Need(f"Python.h of {python.executable}", (f"{name}-dev",) if packaged else ())
        )
    if not (shutil.which("cc") and shutil.which("c++")):
        needs.append(Need("a C and C++ compiler", ("build-essential",)))
    if not shutil.which("cmake"):
        needs.append(Need("cmake", ("cmake",)))
    if not _renders():
        needs.append(Need("off-screen rendering (EGL or OSMesa)", RENDERING_PACKAGES))
    for package in ROS_PACKAGES if ros else ():
        if not (ros / "share" / package).is_dir():
            needs.append(
                Need(f"{package} in {ros}", (f"ros-{ros.name}-{package.replace('_', '-')}",))
            )
    return needs


def apt_command(packages: Sequence[str], as_root: bool) -> list[str]:
    """The command that installs packages."""
    # `env` hands the setting through sudo, which clears the environment.
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y"]
    install += ["--no-install-recommends", *packages]
    return install if as_root else ["sudo", *install]


def may_install() -> bool:
    """Whether apt can be used without asking anybody."""
    if not shutil.which("apt-get"):
        return False
    if os.geteuid() == 0:
        return True
    if not shutil.which("sudo"):
        return False
    return subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode == 0


def provide_system_packages(python: Python, ros: Path | None, log: Path) -> None:
    """Installs what the machine lacks.

    Raises:
        SetupError: if that is not possible; it names the command to run.
    """
    needs = missing_needs(python, ros)
    if not needs:
        return
    missing = ", ".join(need.what for need in needs)
    if not all(need.packages for need in needs):
        raise SetupError(
            f"missing: {missing}; apt cannot complete a Python that is not the distribution's: "
            "take that one (`make setup PYTHON=/usr/bin/python3`) or install yours completely"
        )
    packages = [package for need in needs for package in need.packages]
    as_root = os.geteuid() == 0
    if not may_install():
        command = " ".join(apt_command(packages, as_root))
        raise SetupError(f"missing: {missing}\nInstall it and run this again:\n    {command}")
    print(f"      installing with apt: {' '.join(packages)}", flush=True)
    try:
        run_logged(apt_command(packages, as_root), log, what="apt-get install")
    except SetupError:
        # A machine whose package lists were never fetched, or have grown old, needs them first.
        run_logged(
            [*([] if as_root else ["sudo"]), "apt-get", "update"], log, what="apt-get update"
        )
        run_logged(apt_command(packages, as_root), log, what="apt-get install")
    if still := missing_needs(python, ros):
        raise SetupError(f"still missing after apt-get: {', '.join(need.what for need in still)}")
