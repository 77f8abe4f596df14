"""The set-up: what it does again, what it asks of the machine; how tests are added up."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import summarise_tests  # noqa: E402
import workspace_system  # noqa: E402
from workspace_checks import environment_faults, installation_faults, patch_cmake_files  # noqa: E402
from workspace_steps import SetupError, Step, pending_from, run_logged, run_steps  # noqa: E402
from workspace_system import Need, Python, choose_python, find_ros  # noqa: E402


class Recorder:
    """Steps that write down that they ran, and fail on demand."""

    def __init__(self):
        self.ran: list[str] = []
        self.failing: set[str] = set()

    def steps(self, **inputs: str) -> list[Step]:
        """Three steps, a to c; an input for one is given by its name."""
        return [
            Step(name, name, (inputs.get(name, ""),), lambda name=name: self.act(name))
            for name in "abc"
        ]

    def act(self, name: str) -> None:
        """Runs one step."""
        self.ran.append(name)
        if name in self.failing:
            raise SetupError(name)

    def run(self, stamps: Path, **inputs: str) -> list[str]:
        """Runs the steps; returns those that ran this time."""
        self.ran.clear()
        run_steps(self.steps(**inputs), stamps, say=lambda line: None)
        return list(self.ran)


def test_a_second_set_up_does_nothing(tmp_path):
    recorder = Recorder()
    assert recorder.run(tmp_path / "stamps") == ["a", "b", "c"]
    assert recorder.run(tmp_path / "stamps") == []
    assert pending_from(recorder.steps(), tmp_path / "stamps") == 3


def test_a_failed_set_up_goes_on_where_it_failed(tmp_path):
    recorder = Recorder()
    recorder.failing = {"b"}
    with pytest.raises(SetupError):
        recorder.run(tmp_path)
    recorder.failing = set()
    assert recorder.run(tmp_path) == ["b", "c"]


def test_a_changed_input_does_its_step_and_the_later_ones_again(tmp_path):
    recorder = Recorder()
    recorder.run(tmp_path)
    assert recorder.run(tmp_path, b="new") == ["b", "c"]
    assert recorder.run(tmp_path, b="new") == []


def test_a_step_that_fails_when_done_again_loses_its_stamp(tmp_path):
    recorder = Recorder()
    recorder.run(tmp_path)
    recorder.failing = {"b"}
    with pytest.raises(SetupError):
        recorder.run(tmp_path, b="new")
    recorder.failing = set()
    assert recorder.run(tmp_path) == ["b", "c"], "the stamp of the old input must not count"


def test_a_failed_command_shows_its_last_lines_and_its_log(tmp_path):
    log = tmp_path / "logs/x.log"
    command = [sys.executable, "-c", "print('no such wheel'); raise SystemExit(3)"]
    with pytest.raises(SetupError) as error:
        run_logged(command, log, what="pip install")
    assert "pip install failed with status 3" in str(error.value)
    assert "no such wheel" in str(error.value) and str(log) in str(error.value)


def make_package(site: Path, content: bytes = b"x = 1\n") -> Path:
    """Lays down a package as pip would, with its list of files."""
    module = site / "thing/__init__.py"
    module.parent.mkdir(parents=True)
    module.write_bytes(content)
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    info = site / "thing-1.0.dist-info"
    info.mkdir()
    lines = [f"thing/__init__.py,sha256={digest},{len(content)}", "thing-1.0.dist-info/RECORD,,"]
    (info / "RECORD").write_text("\n".join(lines) + "\n")
    return module


def test_a_missing_and_a_truncated_file_are_found(tmp_path):
    module = make_package(tmp_path)
    assert installation_faults(tmp_path) == []
    module.write_bytes(b"")
    assert installation_faults(tmp_path) == [
        f"{tmp_path}/thing/__init__.py has 0 bytes, expected 6"
    ]
    module.unlink()
    assert installation_faults(tmp_path) == [f"{tmp_path}/thing/__init__.py is missing"]


def test_an_environment_without_a_working_python_is_broken(tmp_path):
    assert environment_faults(tmp_path / "none") == []
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(tmp_path / "gone")
    (fault,) = environment_faults(tmp_path)
    assert "does not start" in fault


def test_a_newer_setuptools_is_found(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    site = tmp_path / "lib/python3.12/site-packages"
    (site / "setuptools-79.0.1.dist-info").mkdir(parents=True)
    assert environment_faults(tmp_path) == []
    (site / "setuptools-80.1.0.dist-info").mkdir()
    (fault,) = environment_faults(tmp_path)
    assert "setuptools-80.1.0" in fault


def test_cmake_files_of_the_wheels_get_the_folders_of_this_machine(tmp_path):
    file = tmp_path / "std_msgs/cmake/export.cmake"
    file.parent.mkdir(parents=True)
    file.write_text(
        'A "/opt/python/cp312-cp312/include/python3.12;${_IMPORT_PREFIX}/include"\n'
        'B "/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include"\n'
    )
    assert patch_cmake_files(tmp_path, r"/usr/include/python3.11", "/v/numpy/include") == 1
    assert file.read_text() == (
        'A "/usr/include/python3.11;${_IMPORT_PREFIX}/include"\nB "/v/numpy/include"\n'
    )
    assert patch_cmake_files(tmp_path, "/usr/include/python3.11", "/v/numpy/include") == 0


def make_ros(root: Path, *names: str) -> None:
    """Lays down what set-up looks for in an installation of ROS."""
    for name in names:
        (root / name / "lib/python3.12").mkdir(parents=True)
        (root / name / "setup.bash").touch()


@pytest.mark.parametrize(
    ("installed", "sourced", "expected"),
    [
        ([], None, None),
        (["humble"], None, None),
        (["humble"], "humble", None),
        (["humble", "jazzy"], None, "jazzy"),
        (["jazzy", "kilted"], None, "kilted"),
        (["jazzy", "kilted"], "jazzy", "jazzy"),
        (["humble", "jazzy"], "humble", "jazzy"),
    ],
)
def test_ros_is_taken_from_jazzy_on(tmp_path, installed, sourced, expected):
    make_ros(tmp_path, *installed)
    found = find_ros(tmp_path, preferred=sourced)
    assert (found.name if found else None) == expected


def test_the_interpreter_is_the_one_that_ros_was_built_for(tmp_path):
    make_ros(tmp_path, "jazzy")
    (tmp_path / "jazzy/lib/python3.12").rename(tmp_path / "jazzy/lib/python3.99")
    with pytest.raises(SetupError, match=r"was built for /usr/bin/python3\.99, which is missing"):
        choose_python(tmp_path / "jazzy")


@pytest.mark.parametrize("version", [(3, 9), (3, 14)])
def test_an_unsupported_python_is_refused(monkeypatch, version):
    monkeypatch.setattr(workspace_system.sys, "version_info", (*version, 1))
    with pytest.raises(SetupError, match=r"expected 3\.10 to 3\.13"):
        choose_python(None)


def test_the_interpreter_of_a_virtual_environment_stands_for_its_base(monkeypatch):
    monkeypatch.setattr(workspace_system.sys, "executable", "/somewhere/.venv/bin/python")
    python = choose_python(None)
    assert python.executable.startswith(sys.base_prefix)
    assert python.version == sys.version_info[:2]


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "x86_64"), ("Linux", "aarch64")])
def test_an_unsupported_machine_is_refused(monkeypatch, system, machine):
    monkeypatch.setattr(workspace_system.platform, "system", lambda: system)
    monkeypatch.setattr(workspace_system.platform, "machine", lambda: machine)
    with pytest.raises(SetupError, match="expected Linux on x86_64"):
        workspace_system.check_platform()


def test_without_rights_the_exact_command_is_said_and_nothing_installed(monkeypatch, tmp_path):
    needs = [Need("a compiler", ("build-essential",)), Need("cmake", ("cmake",))]
    monkeypatch.setattr(workspace_system, "missing_needs", lambda python, ros: needs)
    monkeypatch.setattr(workspace_system, "may_install", lambda: False)
    monkeypatch.setattr(workspace_system.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(workspace_system, "run_logged", lambda *a, **k: pytest.fail("was run"))
    with pytest.raises(SetupError) as error:
        workspace_system.provide_system_packages(
            Python("/usr/bin/python3.12", (3, 12)), None, tmp_path / "log"
        )
    assert str(error.value).endswith(
        "    sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "
        "build-essential cmake"
    )


def test_package_lists_are_fetched_when_the_first_attempt_fails(monkeypatch, tmp_path):
    needs = [[Need("cmake", ("cmake",))], []]
    commands = []

    def run(command, log, what=""):
        commands.append(command)
        if len(commands) == 1:
            raise SetupError("no such package")

    monkeypatch.setattr(workspace_system, "missing_needs", lambda python, ros: needs.pop(0))
    monkeypatch.setattr(workspace_system, "may_install", lambda: True)
    monkeypatch.setattr(workspace_system.os, "geteuid", lambda: 0)
    monkeypatch.setattr(workspace_system, "run_logged", run)
    workspace_system.provide_system_packages(
        Python("/usr/bin/python3.12", (3, 12)), None, tmp_path
    )
    assert [command[-1] for command in commands] == ["cmake", "update", "cmake"]


def test_a_python_that_apt_cannot_complete_is_refused(monkeypatch, tmp_path):
    needs = [Need("Python.h of /opt/python3.12", ())]
    monkeypatch.setattr(workspace_system, "missing_needs", lambda python, ros: needs)
    with pytest.raises(SetupError, match=r"make setup PYTHON=/usr/bin/python3"):
        workspace_system.provide_system_packages(
            Python("/opt/python3.12", (3, 12)), None, tmp_path
        )


def write_result(folder: Path, **counts: int) -> Path:
    """A package's folder of test results."""
    folder.mkdir()
    values = " ".join(f'{name}="{value}"' for name, value in counts.items())
    (folder / "pytest.xml").write_text(f"<testsuites><testsuite {values}/></testsuites>")
    return folder


def summary(*folders: Path) -> tuple[int, str]:
    """Exit status and output of the summary, as `make test` runs it."""
    command = [sys.executable, str(ROOT / "scripts/summarise_tests.py"), *map(str, folders)]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.returncode, result.stdout


def test_results_of_all_packages_are_added_up(tmp_path):
    one = write_result(tmp_path / "one", tests=12, failures=0, errors=0, skipped=2)
    two = write_result(tmp_path / "two", tests=5, failures=0, errors=0, skipped=0)
    status, output = summary(one, two)
    assert (status, output.splitlines()[-1]) == (0, "15 passed, 0 failed, 2 skipped")


def test_failures_and_errors_fail_the_run(tmp_path):
    one = write_result(tmp_path / "one", tests=5, failures=1, errors=1, skipped=1)
    status, output = summary(one)
    assert (status, output.splitlines()[-1]) == (1, "2 passed, 2 failed, 1 skipped")


def test_a_package_without_a_test_that_ran_fails_the_run(tmp_path):
    good = write_result(tmp_path / "good", tests=5, failures=0, errors=0, skipped=0)
    skipped = write_result(tmp_path / "skipped", tests=2, failures=0, errors=0, skipped=2)
    (tmp_path / "silent").mkdir()
    killed = write_result(tmp_path / "killed", tests=2)
    (killed / "pytest.xml").write_text("<testsuites><testsuite tests=")
    assert summary(good)[0] == 0
    for other in (skipped, tmp_path / "silent", killed):
        assert summary(good, other)[0] == 1
    assert summarise_tests.main([]) == 1


def test_a_run_that_ended_early_shows_what_it_printed_last(tmp_path):
    (tmp_path / "latest_test/crashed").mkdir(parents=True)
    log = tmp_path / "latest_test/crashed/stdout_stderr.log"
    log.write_text("test_gate.py ..\nFatal Python error: Segmentation fault\n")
    folder = write_result(tmp_path / "crashed", tests=1, failures=0, errors=1)
    assert summarise_tests.last_lines(folder)[-1] == "Fatal Python error: Segmentation fault"
    command = [sys.executable, str(ROOT / "scripts/summarise_tests.py"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1 and "Segmentation fault" in result.stderr


def test_every_pin_of_a_ros_wheel_is_exact_and_every_requested_wheel_is_pinned():
    def names(file: str) -> dict[str, str]:
        lines = (ROOT / "requirements" / file).read_text().splitlines()
        words = [line.split("#")[0].strip() for line in lines]
        return {re.split(r"[=\[<>]", word)[0]: word for word in words if word}

    pins = names("ros-wheels-constraints.txt")
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", pin) for pin in pins.values())
    assert set(names("ros-wheels.txt")) <= set(pins)
