"""The installed `roboalign` script: worker processes import it and must not start it again."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "roboalign_training" / "bin" / "roboalign"


def test_importing_the_script_starts_nothing():
    assert "main" in runpy.run_path(str(SCRIPT), run_name="__mp_main__")


def test_running_the_script_runs_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["roboalign", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stop.value.code in (0, None)
    assert "pretrain-tiny" in capsys.readouterr().out
