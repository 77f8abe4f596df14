"""Help of every command: there, complete, and without torch; completion; what was meant."""

import argparse
import json
import subprocess
import sys
from dataclasses import fields

import pytest

from roboalign_training import cli, completion_cli
from roboalign_training.shared.suggestions import option_fault
from roboalign_training.training_options import make_parser
from roboalign_training.trl_fields import trl_fields

HEAVY = ("torch", "transformers", "trl", "mujoco", "rclpy", "matplotlib", "datasets", "pandas")
PROGRAM = f"""
import contextlib, io, json, sys
from roboalign_training import cli
for words in json.loads(sys.argv[1]):
    before, out = set(sys.modules), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            status = cli.main(words)
        except SystemExit as end:
            status = end.code
    heavy = [name for name in {HEAVY} if name in sys.modules and name not in before]
    print(json.dumps([words, status, heavy, out.getvalue()]))
"""


def run(*lines):
    """Of each command line: its words, status, the heavy modules that it loaded, its output.

    All in one process of their own: starting one takes longer than the help.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_needs_nothing_that_takes_seconds():
    found = run(*([name, "--help"] for name in cli.COMMANDS))
    assert [(words, status, heavy) for words, status, heavy, _ in found] == [
        ([name, "--help"], 0, []) for name in cli.COMMANDS
    ]
    for words, _, _, out in found:
        assert f"usage: roboalign {words[0]}" in out


def test_refusals_and_completion_need_nothing_that_takes_seconds():
    lines = {
        ("sft", "--datset", "foo"): 2,
        ("sft", "--dataset", "x", "--learning_rate", "-1"): 2,
        ("grpo", "--dataset", "x", "--samples", "0"): 2,
        ("pretrain-tiny", "--steps", "0"): 2,
        ("completion", "bash"): 0,
        ("--version",): 0,
    }
    found = run(*map(list, lines))
    assert [(tuple(words), status, heavy) for words, status, heavy, _ in found] == [
        (words, status, []) for words, status in lines.items()
    ]


def parsers():
    """Every parser of every command, with those of its own commands."""
    for name in cli.COMMANDS:
        module = cli.command_module(name)
        if not hasattr(module, "parser"):
            continue
        top = module.parser()
        yield name, top
        for action in top._actions:
            if isinstance(action, argparse._SubParsersAction):
                for below, parser in action.choices.items():
                    yield f"{name} {below}", parser


def test_every_option_has_a_help():
    bare = [
        f"{name} {action.option_strings or action.dest}"
        for name, parser in parsers()
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert bare == []


def test_our_options_come_first_and_all_of_trl_on_request(capsys):
    short = make_parser("sft").format_help()
    with pytest.raises(SystemExit):
        make_parser("sft").parse_args(["--help-all"])
    long = capsys.readouterr().out
    assert len(short.splitlines()) < 130 < len(long.splitlines())
    assert short.index("--dataset FOLDER") < short.index("--learning_rate")
    assert "--neftune_noise_alpha" not in short
    assert "--help-all" in short
    for name in trl_fields("sft"):
        assert name == "output_dir" or f"--{name}" in long


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_the_names_read_from_trls_source_are_those_of_its_classes(kind):
    from trl import GRPOConfig, SFTConfig

    real = {f.name: f for f in fields({"sft": SFTConfig, "grpo": GRPOConfig}[kind]) if f.init}
    read = trl_fields(kind)
    assert read.keys() == real.keys()
    for name, item in real.items():
        expected = " ".join((item.metadata.get("help") or "").replace("%%", "%").split())
        assert read[name].help == expected, name


def test_what_was_meant(capsys):
    for words, text in (
        (["convert", "b", "--out", "x", "--image", "png"], None),  # an abbreviation
        (["convert", "b", "--ot", "x"], "there is no option --ot; did you mean --out?"),
        (
            ["convert", "b", "--out", "x", "--images", "jpg"],
            "--images: found 'jpg', expected one of auto, png, jpeg, video; did you mean jpeg?",
        ),
        (["evaluate", "closed-lop"], "did you mean closed-loop?"),
        (["evaluate", "closed-loop", "--ot=x"], "there is no option --ot; did you mean --out?"),
        (["gate", "stop"], "expected one of enable, disable, estop, reset, status; did you mean"),
        (["serve", "--polcy", "x"], "there is no option --polcy; did you mean --policy?"),
    ):
        if text is None:
            assert option_fault(cli.command_module(words[0]).parser(), words[1:]) is None
            continue
        assert cli.main(words) == 2
        assert text in capsys.readouterr().err


def test_numbers_below_zero_are_no_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gain", type=float)
    parser.add_argument("--map", nargs="+")
    assert option_fault(parser, ["--gain", "-1", "--map", "a=-2", "-.5", "--gain=-3"]) is None
    assert option_fault(parser, ["--gian", "-1"]) == (
        "there is no option --gian; did you mean --gain?"
    )


def test_tab_completion_in_bash(tmp_path):
    asked = {
        "roboalign gr": "grpo",
        "roboalign sft --datas": "--dataset",
        "roboalign evaluate cl": "closed-loop",
        "roboalign evaluate closed-loop --su": "--suites",
        "roboalign export data --images a": "av1",
        "roboalign gate en": "enable",
    }
    script = completion_cli.script()
    for line in asked:
        words = line.split()
        array = " ".join(f"'{word}'" for word in words)
        script += f"\nCOMP_WORDS=({array}); COMP_CWORD={len(words) - 1}"
        script += '\n_roboalign; echo "${COMPREPLY[*]}"'
    done = subprocess.run(
        ["bash", "--norc"], input=script, text=True, capture_output=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout.split("\n")[: len(asked)] == list(asked.values()), done.stderr
