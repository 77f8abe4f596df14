"""`roboalign`: every command is there, help lists them, and what is unknown is refused."""

import importlib
import inspect
import subprocess
import sys

import pytest

from roboalign_training import cli


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_a_main_that_takes_its_options(name):
    module = importlib.import_module(f"roboalign_training.{cli.COMMANDS[name][0]}")
    (argument,) = inspect.signature(module.main).parameters.values()
    assert argument.name == "argv"
    assert module.__doc__


def test_usage_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"  {name} " in text


def test_no_command_shows_the_usage_and_fails(capsys):
    assert cli.main([]) == 2
    assert "usage: roboalign COMMAND" in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys):
    assert cli.main(["fly"]) == 2
    expected = "found command 'fly', expected one of contract, record, convert"
    assert expected in capsys.readouterr().err
    assert cli.main(["inspekt"]) == 2
    assert "found command 'inspekt'; did you mean inspect?" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["loading", "working"])
def test_ctrl_c_in_a_command_that_says_nothing_of_its_own(tmp_path, capsys, monkeypatch, where):
    def interrupted(*_):
        raise KeyboardInterrupt

    if where == "loading":
        monkeypatch.setattr(cli, "command_module", interrupted)
    else:
        monkeypatch.setattr("roboalign_training.origins.trace_cli.main", interrupted)
    assert cli.main(["trace", str(tmp_path)]) == 130
    assert "roboalign: interrupted" in capsys.readouterr().err


def test_a_contract_beside_a_packaged_name_and_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teach").write_text("")
    assert cli.main(["contract", "check", "teach"])
    said = capsys.readouterr()
    assert "the file of that name here is ./teach" in said.out + said.err
    assert cli.main(["contract", "check", str(tmp_path)])
    said = capsys.readouterr()
    assert "found a folder, expected a contract file" in said.out + said.err


def test_a_task_list_that_is_not_there(capsys):
    assert cli.main(["record", "--tasks", "nope.txt", "--contract", "sim_panda"]) == 2
    expected = "--tasks: found nope.txt (no such file or directory), expected a file: an instruct"
    assert expected in capsys.readouterr().err


_CUT = """
import sys
import time
from roboalign_training import cli
from roboalign_training.commands import {module}

def main(argv):
    {body}

{module}.main = main
sys.exit(cli.main(["{name}"]))
"""


def cut_after_a_line(body, name="gate", module="gate_cli"):
    """Exit status and errors of a command of which one line is read."""
    code = _CUT.format(body=body, name=name, module=module)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        error = process.stderr.read()
        return process.wait(60), error


@pytest.mark.parametrize(
    "body",
    [
        "print('line', flush=True); time.sleep(1); print('more ' * 99999)",
        "print('line', flush=True); time.sleep(1); print('more'); return 3",  # buffered
        "print('line', flush=True); time.sleep(1); print('help'); sys.exit(0)",
    ],
)
def test_a_reader_that_has_had_enough_is_no_traceback(body):
    """As `roboalign gate status | head -1`; the reader has closed by the second line."""
    assert cut_after_a_line(body) == (cli.OUTPUT_CUT, "")


def test_a_broken_pipe_of_another_kind_is_not_hidden():
    code = _CUT.format(body="raise BrokenPipeError('a socket')", name="gate", module="gate_cli")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "BrokenPipeError: a socket" in done.stderr


def test_options_and_status_pass_through(monkeypatch):
    from roboalign_training.commands import contract_cli

    seen = []
    monkeypatch.setattr(contract_cli, "main", lambda argv: seen.append(argv) or 7)
    monkeypatch.setattr("sys.argv", ["x"])
    assert cli.main(["contract", "check", "robot.yaml"]) == 7
    assert seen == [["check", "robot.yaml"]]


def test_contract_check_of_good_bad_and_missing_contracts(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", ["x"])
    bad = tmp_path / "bad.yaml"
    bad.write_text("schema: roboalign-contract/1\nrate_hz: -3\n")
    assert cli.main(["contract", "check", "sim_panda"]) == 0
    assert cli.main(["contract", "check", "sim_panda", str(bad)]) == 1
    assert "rate_hz" in capsys.readouterr().err
    assert cli.main(["contract", "check", str(bad), str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: found no such file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["open-loop", "closed-loop"])
def test_evaluating_what_is_no_checkpoint_is_an_error_in_a_line(command, tmp_path, capsys):
    from roboalign_training.evaluate.cli import main

    policy = tmp_path / "policy"
    if command == "open-loop":
        options = [str(tmp_path)]
    else:
        options = ["--out", str(tmp_path / "out"), "--episodes", "1"]
    assert main([command, str(policy), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("roboalign evaluate: ")
    assert str(policy) in error


def test_evaluating_an_unknown_suite_is_an_error(tmp_path, capsys):
    from roboalign_training.evaluate.cli import main

    assert main(["closed-loop", "p", "--out", str(tmp_path), "--suites", "moon"]) == 2
    assert "suites: found ['moon'], expected some of" in capsys.readouterr().err


def test_old_names_still_work_and_say_what_they_are_called_now(tmp_path, capsys):
    from roboalign_training.evaluate import cli as evaluate_cli

    words = ["closed-loop", "p", "--out", str(tmp_path), "--first-seed", "3", "--suites", "moon"]
    assert evaluate_cli.main(words) == 2
    error = capsys.readouterr().err
    assert "--first-seed is now called --seed\n" in error
    assert "roboalign evaluate: p is now given as --policy p\n" in error
    named = evaluate_cli.parser().parse_args([*words, "--seed", "4"])
    assert (named.seed, named.words) == (4, ["p"])
    for words, text in (
        (["--policy", "p", "--dataset", "d", "q"], "found 'q', expected only options with a name"),
        (["--policy", "p"], "--dataset: not given, and there is no default"),
    ):
        with pytest.raises(SystemExit):
            evaluate_cli.main(["open-loop", *words])
        assert text in capsys.readouterr().err


def test_a_full_disk_is_told_by_the_command_line_whatever_the_command(
    tmp_path, monkeypatch, capsys
):
    import errno

    from roboalign_training.commands import contract_cli

    def full(argv):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "out" / "x.bin"))

    monkeypatch.setattr(contract_cli, "main", full)
    monkeypatch.setattr("sys.argv", ["x"])
    assert cli.main(["contract", "check", "sim_panda"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        f"roboalign contract: not written: {tmp_path / 'out' / 'x.bin'}: No sp"
    )
    assert "MB free); make room" in error
    assert len(error.splitlines()) == 1


def test_the_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("roboalign ")
