"""`roboalign inspect --rerun`: what is logged, and what is said where the SDK is missing."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from demo_bags import write_demo

from roboalign_training.conversion.build import build_dataset
from roboalign_training.look import inspect_cli


@dataclass
class FakeStream:
    """Takes what a RecordingStream takes, and keeps it."""

    application: str
    recording_id: str
    saved: list = field(default_factory=list)
    spawned: int = 0
    logged: list = field(default_factory=list)
    times: dict = field(default_factory=dict)
    closed: list = field(default_factory=list)

    def save(self, path):
        self.saved.append(path)

    def spawn(self):
        self.spawned += 1

    def set_time(self, name, *, timestamp):
        self.times[name] = timestamp

    def log(self, path, entity, *, static=False):
        assert isinstance(path, list)
        self.logged.append((tuple(path), entity, static, dict(self.times)))

    def flush(self):
        self.closed.append("flush")

    def disconnect(self):
        self.closed.append("disconnect")


@pytest.fixture
def fake(monkeypatch):
    """A module in the place of the SDK, where Python looks first."""
    streams = []

    def stream(application, *, recording_id):
        streams.append(FakeStream(application, recording_id))
        return streams[-1]

    def image(pixels):
        return SimpleNamespace(compress=lambda jpeg_quality: ("image", pixels.copy()))

    module = SimpleNamespace(
        __version__="0.26.2",
        streams=streams,
        RecordingStream=stream,
        Image=image,
        Scalars=lambda values: ("scalars", np.array(values)),
        SeriesLines=lambda names: ("names", names),
        TextLog=lambda text, level: ("text", text, level),
    )
    monkeypatch.setitem(sys.modules, "rerun", module)
    return module


def of(stream, path):
    return [(entity, static, times) for at, entity, static, times in stream.logged if at == path]


def test_bag_in_rerun(tmp_path, fake):
    demo = write_demo(tmp_path / "ep", count=12, task=("open it",))
    out = tmp_path / "new" / "ep.rrd"
    assert inspect_cli.main([str(demo.folder), "--rerun", str(out)]) == 0
    (stream,) = fake.streams
    assert (stream.saved, stream.spawned) == ([str(out)], 0)
    assert stream.closed == ["flush", "disconnect"]
    images = of(stream, ("ep", "image", "image.front"))
    assert len(images) == 12
    for (kind, pixels), expected in zip((i[0] for i in images), demo.images, strict=True):
        assert kind == "image"
        np.testing.assert_array_equal(pixels, expected)
    assert images[3][2]["stamp"] == np.datetime64(int(demo.stamps_ns[3]), "ns")
    assert images[3][2]["received"] == np.datetime64(int(demo.stamps_ns[3]) + 10, "ns")
    names, *actions = of(stream, ("ep", "action", "action servo_node/delta_twist_cmds"))
    assert names[0][1][:2] == ["dx [0.05 m]", "dy [0.05 m]"]
    assert names[1]
    np.testing.assert_allclose([a[0][1] for a in actions], demo.actions[:, :6], atol=1e-6)
    states = of(stream, ("ep", "state", "state.ee"))
    assert len(states) == 13
    ((text, *_),) = of(stream, ("ep", "events"))
    assert text == ("text", "task: open it", "INFO")


def test_data_set_in_the_viewer(tmp_path, fake):
    for i in range(2):
        write_demo(tmp_path / f"ep{i}", seed=i, count=12)
    build_dataset([tmp_path / "ep0", tmp_path / "ep1"], None, tmp_path / "set")
    assert inspect_cli.main([str(tmp_path / "set"), "--episode", "ep1", "--rerun"]) == 0
    (stream,) = fake.streams
    assert (stream.saved, stream.spawned) == ([], 1)
    assert {path[0] for path, *_ in stream.logged} == {"ep1"}
    assert len(of(stream, ("ep1", "image", "image.front"))) == 12


def test_missing_sdk_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    demo = write_demo(tmp_path / "ep", count=12)
    monkeypatch.setitem(sys.modules, "rerun", None)  # an import of it fails
    assert inspect_cli.main([str(demo.folder), "--rerun", str(tmp_path / "a.rrd")]) == 1
    said = capsys.readouterr()
    assert "pip install 'rerun-sdk" in said.err
    assert said.out == ""


def test_old_sdk_is_refused(tmp_path, fake, capsys):
    fake.__version__ = "0.20.1"
    demo = write_demo(tmp_path / "ep", count=12)
    assert inspect_cli.main([str(demo.folder), "--rerun", str(tmp_path / "a.rrd")]) == 1
    assert "found rerun-sdk 0.20.1, expected 0.24 or newer" in capsys.readouterr().err


@pytest.mark.skipif(
    importlib.util.find_spec("rerun") is None, reason="the Rerun SDK is not installed"
)
def test_with_the_real_sdk(tmp_path):
    demo = write_demo(tmp_path / "ep", count=12)
    out = tmp_path / "ep.rrd"
    assert inspect_cli.main([str(demo.folder), "--rerun", str(out)]) == 0
    assert out.stat().st_size > 20_000
    assert out.read_bytes()[:4] in (b"RRF2", b"RRF3")
