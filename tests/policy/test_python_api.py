"""The Python interface: what docs/policy.md shows runs as it stands, versions, type hints."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import load_contract

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "policy.md"
PACKAGES = ("roboalign_policy", "roboalign_training")


def closed_loop() -> str:
    """The page's program."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return code


def test_the_closed_loop_of_the_page_runs(checkpoint, tmp_path, capsys):
    pytest.importorskip("mujoco")
    code = closed_loop().replace("out/demo/grpo/policy", str(checkpoint))
    assert str(checkpoint) in code
    (tmp_path / "loop.py").write_text(code)
    scope = runpy.run_path(str(tmp_path / "loop.py"))
    env, prediction = scope["env"], scope["prediction"]
    assert env.steps == env.task.max_steps  # untrained: it drives to the end
    *thoughts, end = capsys.readouterr().out.splitlines()
    assert end == f"no success after {env.steps} steps"
    assert [line.split(":")[0] for line in thoughts] == [f"{0.8 * i:.1f} s" for i in range(6)]
    assert prediction.actions.shape == (8, 7)
    assert prediction.actions.dtype == np.float32


def test_values_of_the_simulator_are_those_of_the_contract():
    sim = pytest.importorskip("roboalign_policy.sim")
    env = sim.make_env("object", "red_cube_on_plate", 1)
    env.reset()
    seen = env.step(np.array([0.2, 0, 0, 0.3, -0.2, 0.5, 1.0]))
    values, contract = seen.values(), load_contract("sim_panda")
    assert set(values) == {stream.key for stream in contract.observations}
    for stream in contract.observations:
        assert values[stream.key].shape == stream.value_shape, stream.key
        assert values[stream.key].dtype == (np.uint8 if stream.is_image else np.float32)
    assert abs(np.linalg.norm(values["state.ee"][3:]) - 1) < 1e-6
    conversions = pytest.importorskip("roboalign_policy.ros.conversions")
    turn = conversions.quaternion_from_rotvec(seen.ee_rotvec)  # as on the topic
    assert np.linalg.norm(seen.ee_rotvec) > 0.1
    np.testing.assert_allclose(values["state.ee"], [*seen.ee_position, *turn], atol=1e-6)
    still = env.reset().values()["state.ee"][3:]
    np.testing.assert_allclose(still, [0, 0, 0, 1], atol=0.05)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_version_stands_in_one_place(name):
    manifest = ElementTree.parse(ROOT / name / "package.xml").findtext("version")
    module = pytest.importorskip(name)
    assert module.__version__ == manifest
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest)
    with pytest.raises(AttributeError, match="nonsense"):
        module.nonsense  # noqa: B018 - reading it is the test
    made = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=ROOT / name, capture_output=True, text=True
    )
    assert made.stdout.split()[-1] == manifest
    for file in ("setup.py", f"{name}/__init__.py"):
        assert manifest not in (ROOT / name / file).read_text(), file


def test_all_packages_have_one_version():
    manifests = ROOT.glob("roboalign_*/package.xml")
    assert len({ElementTree.parse(path).findtext("version") for path in manifests}) == 1


@pytest.mark.parametrize("name", PACKAGES)
def test_type_hints_are_for_others_too(name, tmp_path):
    """PEP 561: an installed package with `py.typed` is one whose hints a type checker reads."""
    folder = Path(importlib.import_module(name).__file__).parent
    assert (folder / "py.typed").is_file()
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "lib")]
    command += ["egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=ROOT / name, check=True, capture_output=True)
    assert (tmp_path / "lib" / name / "py.typed").is_file()
