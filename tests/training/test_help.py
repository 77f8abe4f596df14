"""Help of every command: there, complete, and without torch; completion; what was meant."""

import argparse
import json
import subprocess
import sys
from dataclasses import fields

import pytest

from roboalign_policy.core.contract.files import packaged_contracts
from roboalign_training import cli
from roboalign_training.commands import completion_cli
from roboalign_training.demo.experiment import load_experiment, packaged_experiment
from roboalign_training.learning.training_options import make_parser
from roboalign_training.learning.trl_fields import trl_fields
from roboalign_training.shared.suggestions import option_fault

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


def test_no_heading_stands_twice():
    for name, parser in parsers():
        headings = [line for line in parser.format_help().splitlines() if line.endswith(":")]
        headings = [line for line in headings if not line.startswith(" ")]
        assert "options:" in headings or name in ("sft", "grpo", "vla"), name
        assert len(headings) == len(set(headings)), (name, headings)


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


ROBOTS = " ".join(packaged_contracts())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("roboalign gr", "grpo"),
        ("roboalign sft --datas", "--dataset"),
        ("roboalign evaluate cl", "closed-loop"),
        ("roboalign evaluate closed-loop --su", "--suites"),
        ("roboalign export data --images a", "av1"),
        ("roboalign gate en", "enable"),
        ("roboalign convert bags --contract ''", f"{ROBOTS} franka.txt robots"),
        ("roboalign convert bags --contract fr", "franka_fr3 franka.txt"),
        ("roboalign convert bags --contract robots/m", "robots/mine.yaml"),
        ("roboalign sft --contract ur", "ur5e"),
        ("roboalign up --sim --contract sim", "sim_panda sim_panda_wrist"),
        ("roboalign contract check so", "so101"),
        ("roboalign contract check ur5e sim", "sim_panda sim_panda_wrist"),
        ("roboalign doctor sim", "sim_panda sim_panda_wrist"),
        ("roboalign doctor sim_panda --sec", "--seconds"),
        ("roboalign demo --redo cl", "closed_loop"),
        ("roboalign demo --redo sft gr", "grpo grpo_head"),
        ("roboalign demo --redo sft --stri", "--strict"),
        ("roboalign demo --episodes 8 --redo rec", "record"),
        ("roboalign demo --redo sft --episodes gr", ""),
        ("roboalign inspect data --out fr", ""),  # left to the shell: files
    ],
)
def test_tab_completion_in_bash(tmp_path, line, offered):
    (tmp_path / "robots").mkdir()
    (tmp_path / "robots/mine.yaml").touch()
    (tmp_path / "franka.txt").touch()
    words = line.split()
    script = completion_cli.script()
    script += f"\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}"
    script += '\n_roboalign; echo "${COMPREPLY[*]}"'
    done = subprocess.run(
        ["bash", "--norc"], input=script, text=True, capture_output=True, cwd=tmp_path, timeout=60
    )
    assert sorted(done.stdout.split()) == sorted(offered.split()), done.stderr
    assert done.stderr == ""


def test_completion_knows_contracts_and_stages_as_they_are():
    script = completion_cli.script()
    assert " ".join(packaged_contracts()) in script and ROBOTS.split() == list(
        packaged_contracts()
    )
    stages = load_experiment(packaged_experiment("demo")).stages()
    assert " ".join(stages) in script
    helps = [(a.dest, a.help or "") for _, parser in parsers() for a in parser._actions]
    named = {dest for dest, text in helps if "packaged" in text and "ontract" in text}
    assert named == set(completion_cli.CONTRACTS), "a contract under another name"
