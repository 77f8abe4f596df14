"""JSON lines end at a line feed alone, in every reader of the suite."""

from __future__ import annotations

import ast
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from roboalign_training.evaluate.closed_loop import RESULTS, DrivenEpisode, read_results
from roboalign_training.evaluate.replay import ReplayAnswer, read_answers
from roboalign_training.evaluate.report import read_metrics
from roboalign_training.learning.run_record import RunFolder
from roboalign_training.nodes.training_job import TrainingJob
from roboalign_training.shared.json_lines import read_json_lines
from roboalign_training.shared.run_layout import METRICS

# What `str.splitlines` takes for ends of lines and JSON does not.
TEXT = "a\u2028b\u2029c\x85d"
ROOT = Path(__file__).resolve().parents[2]


def dump(*rows: dict) -> str:
    """JSON lines as other programs write them, with nothing escaped that need not be."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_ends_at_a_line_feed_only(tmp_path, begin, end):
    path = tmp_path / "x.jsonl"
    path.write_bytes(begin + dump({"t": TEXT}, {"t": 2}).replace("\n", f"{end}{end}").encode())
    assert read_json_lines(path) == [(1, {"t": TEXT}), (3, {"t": 2})]


def test_a_last_line_without_its_end(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(dump({"t": 1}) + '{"t": 2}')
    assert [row["t"] for _, row in read_json_lines(path)] == [1, 2]
    path.write_text(dump({"t": 1}) + '{"t": ')
    assert [row["t"] for _, row in read_json_lines(path, whole_lines=True)] == [1]


@pytest.mark.parametrize("line", [b"{", b'{"t": "\xe4"}'])
def test_the_line_is_named(tmp_path, line):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"t": 1}\n\n' + line + b"\n")
    with pytest.raises(ValueError, match="^line 3: "):
        read_json_lines(path)


def test_readers_of_runs_and_results(tmp_path):
    (tmp_path / METRICS).write_text(dump({"step": 1, "t": TEXT}, {"step": 2, "t": TEXT}), "utf-8")
    assert [row["t"] for row in read_metrics(tmp_path)] == [TEXT, TEXT]
    assert [row["t"] for row in RunFolder(tmp_path).metrics()] == [TEXT, TEXT]
    job = TrainingJob.__new__(TrainingJob)
    job.folder, job.latest, job._file, job._read = tmp_path, {}, 0, 0
    job.read_metrics()
    assert job.latest == {"step": 2, "t": TEXT}
    episode = DrivenEpisode("object", TEXT, 3)
    (tmp_path / RESULTS).write_text(dump({**asdict(episode), "success": True}), "utf-8")
    assert list(read_results(tmp_path)) == [episode]


def test_reader_of_replayed_answers(tmp_path):
    answer = ReplayAnswer(1, "ok", TEXT, None, [], 0.1)
    path = tmp_path / "answers.jsonl"
    path.write_text(dump(vars(answer), vars(answer)), "utf-8")
    assert [found.detail for found in read_answers(path)] == [TEXT, TEXT]


def is_split(node: ast.AST) -> bool:
    """Whether it is `something.splitlines`, but of a docstring."""
    of_docs = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "__doc__"
    return isinstance(node, ast.Attribute) and node.attr == "splitlines" and not of_docs


def test_no_function_splits_json_lines_at_other_characters():
    """`splitlines` on text that `json.loads` then reads."""
    found = []
    for package in ("roboalign_policy", "roboalign_training", "scripts", "bench"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for part in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(part, ast.FunctionDef):
                    nodes = list(ast.walk(part))
                    loads = any(getattr(node, "attr", "") == "loads" for node in nodes)
                    if loads and any(map(is_split, nodes)):
                        found.append(f"{path.name}: {part.name}")
    assert found == []
