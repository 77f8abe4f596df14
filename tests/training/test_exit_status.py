"""One rule of exit statuses: what is named and does not exist is 2 in every command that reads."""

from __future__ import annotations

import pytest
from demo_bags import write_demo
from test_no_result_is_lost import hash_of

from roboalign_training import cli
from roboalign_training.bags.errors import BagError, DatasetError, NoBagError, OptionError
from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.fit import fit_dataset
from roboalign_training.learning.base_policy import make_base_policy
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.shared.exit_status import FAILED, REFUSED, status_of
from roboalign_training.shared.outputs import OutputError

GONE = "nix/deeper/gone.yaml"  # no packaged name, and no name on the hub
READS_NO_PATH = {"run", "gate", "demo", "completion"}
MISSING = {
    "convert": ["{gone} --out new", "bags {gone} --out new", "bags --contract {gone} --out new"],
    "recover": ["{gone}", "{gone} --out new"],
    "export": ["{gone} --out new"],
    "import": ["{gone} --out new", "theirs --contract {gone} --out new"],
    "fit-tokenizer": ["{gone}"],
    "inspect": ["{gone}", "{gone} --html page.html"],
    "trace": ["{gone}"],
    "replay": [
        "{gone} --policy policy", "bags/ep0 --policy {gone}",
        "bags/ep0 --policy policy --contract {gone}",
    ],
    "evaluate": [
        "open-loop --policy {gone} --dataset data", "open-loop --policy policy --dataset {gone}",
        "closed-loop --policy {gone} --out new",
    ],
    "sft": [
        "--dataset {gone} --out new", "--bags {gone} --out new", "--dataset data --base {gone}",
        "--dataset data --config {gone}", "--bags bags --contract {gone} --out new",
    ],
    "grpo": [
        "--dataset {gone} --base policy --out new", "--bags {gone} --base policy --out new",
        "--dataset data --base {gone} --out new", "--dataset data --config {gone} --out new",
    ],
    "vla": [
        "--dataset {gone} --base policy --out new", "--bags {gone} --base policy --out new",
        "--dataset data --base {gone} --out new", "--dataset data --config {gone} --out new",
    ],
    "pretrain-tiny": ["--config {gone} --out new"],
    "serve": [
        "--policy {gone}", "--policy policy --contract {gone}",
        "--policy policy --token-file {gone}",
        "--policy policy --certificate {gone} --key {gone}",
    ],
    "contract": ["check {gone}"],
    "experiment": ["{gone}"],
    "doctor": ["{gone}"],
    "record": ["--tasks {gone} --contract sim_panda", "--instruction go --contract {gone}"],
    "up": [
        "--policy {gone}", "--policy policy --params {gone}", "--policy policy --contract {gone}",
    ],
}  # fmt: skip
ANOTHER_THING = {
    "convert": ["data --out new", "base --out new", "file --out new"],
    "recover": ["data", "file"],
    "export": ["bags --out new", "theirs --out new", "file --out new"],
    "import": ["data --out new", "bags --out new", "file --out new"],
    "fit-tokenizer": ["bags", "theirs", "file"],
    "trace": ["empty"],
    "replay": ["data --policy policy", "bags/ep0 --policy data"],
    "evaluate": ["open-loop --policy data --dataset data", "closed-loop --policy bags --out new"],
    "sft": ["--dataset bags --out new", "--bags data --out new", "--dataset data --base bags"],
    "grpo": ["--dataset data --base base --out new"],
    "vla": ["--dataset data --base base --out new", "--dataset bags --base policy --out new"],
    "serve": ["--policy data"],
}
"""Inputs that are there, and are not what the command takes."""


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_base):
    """One of everything that a command reads."""
    folder = tmp_path_factory.mktemp("world")
    for number in range(2):
        write_demo(folder / f"bags/ep{number}", seed=number, count=16)
    build_dataset(sorted((folder / "bags").iterdir()), None, folder / "data")
    fit_dataset(folder / "data", vocab_size=128)
    export_dataset(folder / "data", folder / "theirs", images="png")
    (folder / "base").symlink_to(tiny_base)
    make_base_policy(str(tiny_base), folder / "data", folder / "policy")
    (folder / "file").write_text("nothing")
    (folder / "empty").mkdir()
    return folder


def lines(table):
    return [f"{name} {words}" for name, all_words in table.items() for words in all_words]


def status(words: list[str]) -> int:
    try:
        return cli.main(words)
    except SystemExit as end:  # of argparse
        return end.code


def test_every_command_is_listed():
    assert MISSING.keys() | READS_NO_PATH == cli.COMMANDS.keys()


@pytest.mark.parametrize("line", lines(MISSING))
def test_what_does_not_exist_is_2_and_named(world, line, monkeypatch, capsys):
    monkeypatch.chdir(world)
    before = hash_of(world)
    assert status(line.format(gone=GONE).split()) == 2, line
    said = capsys.readouterr().err
    assert GONE in said and "Traceback" not in said, said
    assert hash_of(world) == before


@pytest.mark.parametrize("line", lines(ANOTHER_THING))
def test_what_is_another_thing_is_2_and_named(world, line, monkeypatch, capsys):
    monkeypatch.chdir(world)
    before = hash_of(world)
    assert status(line.split()) == 2, line
    said = capsys.readouterr().err
    assert said.strip() and "Traceback" not in said
    assert hash_of(world) == before


def test_what_is_damaged_is_1(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("data", "ep"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/dataset.json").write_text("{")
    (tmp_path / "ep/a.mcap").write_bytes(b"broken")
    for line, named in (
        ("export data --out new", "data/dataset.json: "),
        ("fit-tokenizer data", "data/dataset.json: "),
        ("sft --dataset data --out new", "data fault: data/dataset.json: "),
        ("convert ep --contract sim_panda --out new", "ep"),
        ("recover ep", "error: ep: nothing in it can be read"),
    ):
        assert status(line.split()) == 1, line
        assert named in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("convert bags --out new --workers 0", "--workers: found 0, expected at least 1"),
        ("convert bags --out new --workers -3", "--workers: found -3, expected at least 1"),
        ("evaluate closed-loop --policy policy --out new --workers 0", "--workers: found 0, exp"),
        ("evaluate closed-loop --policy policy --out new --workers -3", "--workers: found -3, e"),
        ("pretrain-tiny --out new --render_workers 0", "render_workers: found 0, expected at lea"),
        ("sft --dataset data --out new --dataloader_num_workers -3", "workers: found -3, expect"),
        ("export data --out new --crf 99", "crf: found 99, expected 0 .. 51"),
        ("fit-tokenizer data --held-out 2 --overwrite", "held_out: found 2.0, expected 0 to"),
        ("import theirs --out new --min-frames 0", "min_frames: found 0, expected at least 1"),
    ],
)
def test_a_value_that_cannot_be_is_2(world, line, text, monkeypatch, capsys):
    monkeypatch.chdir(world)
    before = hash_of(world)
    assert status(line.split()) == 2
    said = capsys.readouterr().err
    assert text in said and len(said.splitlines()) == 1
    assert hash_of(world) == before


def test_which_errors_are_refusals():
    assert status_of(OutputError("x")) == status_of(ValueError("x")) == REFUSED
    assert status_of(NoBagError("x", "y")) == status_of(OptionError("x", "y")) == REFUSED
    assert status_of(BagError("x", "y")) == status_of(DatasetError("x", "y")) == FAILED
    assert status_of(OSError(28, "full")) == status_of(RuntimeError("x")) == FAILED
