"""From a checkpoint back to its bags: what it remembers, and what is still as it was."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from demo_bags import write_recordings
from lerobot_sets import SHAPE, make_v21, so101_contract
from lerobot_v30 import make_v30

from roboalign_policy.core.hashing import sha256_file
from roboalign_training.bags.errors import DataError
from roboalign_training.conversion.build import build_dataset, find_bags
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.origins import trace_cli
from roboalign_training.origins.provenance import FILE, ProvenanceError, load_origin, write_origin
from roboalign_training.origins.trace import (
    AS_IT_WAS,
    CHANGED,
    GONE,
    LEROBOT,
    UNCHECKED,
    TraceError,
    trace,
)
from roboalign_training.origins.trace_step import OF_ANOTHER, Step


@pytest.fixture
def lab(tmp_path):
    """Bags, a data set, an SFT checkpoint and a GRPO checkpoint made from it."""
    write_recordings(tmp_path / "bags")
    build_dataset(find_bags([tmp_path / "bags"]), None, tmp_path / "data")
    for name, base in (("sft", "roboalign-tiny"), ("grpo", str(tmp_path / "sft" / "policy"))):
        folder = tmp_path / name / "policy"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(name.encode() * 100)
        write_origin(folder, name, base, tmp_path / "data", {"ep1"}, "abc123")
    return tmp_path


def states(step, kind):
    return {s.name.rsplit("/", 1)[-1]: s.state for s in step.walk() if s.kind == kind}


def test_the_way_leads_over_the_base_to_every_bag(lab):
    step = trace(lab / "grpo" / "policy")
    assert [s.kind for s in step.children] == ["checkpoint", "data set"]
    base = step.children[0]
    assert base.facts["made by"].startswith("sft, roboalign") and "abc123" in base.facts["made by"]
    assert base.children[0].name == "roboalign-tiny"
    assert set(states(step, "bag").values()) == {AS_IT_WAS}
    assert set(states(step, "bag")) == {"ep0", "ep1", "ep2", "ep4"}  # ep3 failed
    assert set(states(step, "checkpoint").values()) == {AS_IT_WAS}
    episodes = {s.name: s.facts for s in step.children[1].children}
    assert "held out" in episodes["ep1"] and "held out" not in episodes["ep0"]
    assert "ns (" in episodes["ep0"]["time"]
    bag = step.children[1].children[0].children[0]
    assert bag.facts["outcome"] == "success" and bag.facts["messages"].isdigit()


def test_any_file_of_it_will_do(lab):
    policy = lab / "grpo" / "policy"
    assert trace(policy / "model.safetensors").name == str(policy)
    parquet = next((lab / "data" / "data").glob("*ep0*.parquet"))
    step = trace(parquet)
    assert step.name == "ep0" and list(states(step, "bag").values()) == [AS_IT_WAS]
    assert len(trace(lab / "data").children) == 4
    report = lab / "report.json"
    report.write_text(json.dumps({"policy": str(policy)}))
    assert trace(report).children[0].name == str(policy)
    assert trace(lab / "bags" / "ep0").kind == "bag"


@pytest.mark.parametrize("named", ["policy", "sft/policy", "/gone/sft/policy"])
def test_a_result_leads_to_the_policy_of_its_own_run(lab, monkeypatch, named):
    """Older results name it as seen from the folder that the command was called in."""
    result = lab / "sft" / "result.json"
    result.write_text(json.dumps({"policy": named}))
    elsewhere = lab / "elsewhere"
    shutil.copytree(lab / "grpo", elsewhere / "sft")
    for folder in (lab, elsewhere, elsewhere / "sft"):
        monkeypatch.chdir(folder)
        (step,) = trace(result).children
        assert step.name == str(lab / "sft" / "policy"), folder


def test_an_older_report_is_read_from_the_folder_of_its_command(lab, monkeypatch):
    report = lab / "replayed" / "replay.json"
    report.parent.mkdir()
    report.write_text(json.dumps({"policy": "sft/policy"}))
    assert trace(report).state == GONE
    monkeypatch.chdir(lab)
    assert [step.name for step in trace(report).children] == ["sft/policy"]
    report.write_text(json.dumps({"policy": "../grpo/policy"}))
    monkeypatch.chdir(lab / "sft" / "policy")
    assert trace(report).children[0].name == str(lab / "grpo" / "policy")


@pytest.mark.parametrize("later", [False, True])
def test_the_last_line_has_the_worst_of_what_was_found_of_a_recording(later):
    found = [f"{CHANGED}: no file-000.mp4", AS_IT_WAS]
    steps = [
        Step("episode", str(n), children=[Step(LEROBOT, "cubes", state=state)])
        for n, state in enumerate(reversed(found) if later else found)
    ]
    assert trace_cli.summary(Step("data set", "data", children=steps)) == "1 source: 1 CHANGED"


def test_changed_moved_and_missing_bags_are_told_apart(lab, capsys):
    shutil.rmtree(lab / "bags" / "ep0")
    (storage,) = (lab / "bags" / "ep2").glob("*.mcap")
    metadata = lab / "bags" / "ep2" / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("roboalign.outcome: success", "x: y"))
    (lab / "grpo" / "policy" / "model.safetensors").write_bytes(b"other")
    step = trace(lab / "grpo" / "policy")
    found = states(step, "bag")
    assert found["ep0"] == GONE and found["ep4"] == AS_IT_WAS
    assert step.state == CHANGED
    assert trace_cli.main([str(lab / "grpo" / "policy")]) == 1
    said = capsys.readouterr().out
    assert "4 sources" in said and "not there any more" in said


def test_a_checkpoint_remembers_without_its_base_and_data_set(lab):
    shutil.rmtree(lab / "data")
    shutil.rmtree(lab / "sft")
    step = trace(lab / "grpo" / "policy")
    assert set(states(step, "bag").values()) == {AS_IT_WAS}
    assert [s.state for s in step.children] == [GONE, GONE]
    assert len(states(step, "episode")) == 4


def test_a_folder_that_moves_as_a_whole_keeps_its_way(lab, tmp_path_factory):
    other = tmp_path_factory.mktemp("moved") / "lab"
    shutil.move(lab, other)
    step = trace(other / "grpo" / "policy")
    assert set(states(step, "bag").values()) == {AS_IT_WAS}
    assert set(states(step, "checkpoint").values()) == {AS_IT_WAS}


def test_an_imported_data_set_leads_to_lerobots_files(tmp_path):
    make_v21(tmp_path / "cubes")
    contract = so101_contract("image.top", SHAPE, rate_hz=10.0)
    import_dataset(tmp_path / "cubes", tmp_path / "data", contract)
    folder = tmp_path / "sft"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    write_origin(folder, "sft", "roboalign-tiny", tmp_path / "data", set(), "")
    for start in (folder, tmp_path / "data"):
        assert set(states(trace(start), LEROBOT).values()) == {AS_IT_WAS}
    shutil.rmtree(tmp_path / "data")
    (part, *_) = (tmp_path / "cubes").rglob("*.parquet")
    part.write_bytes(part.read_bytes() + b"x")
    assert CHANGED in {s.state for s in trace(folder).walk() if s.kind == LEROBOT}
    part.unlink()
    found = {s.state for s in trace(folder).walk() if s.kind == LEROBOT}
    assert f"{CHANGED}: no {part.name}" in found
    shutil.rmtree(tmp_path / "cubes")
    assert {s.state for s in trace(folder).walk() if s.kind == LEROBOT} == {GONE}


def lerobot_steps(step):
    return [s for s in step.walk() if s.kind == LEROBOT]


def test_the_way_ends_with_what_the_lerobot_data_set_says_of_itself(tmp_path, capsys):
    make_v30(tmp_path / "cubes")
    contract = so101_contract("image.top", SHAPE, rate_hz=10.0)
    import_dataset(tmp_path / "cubes", tmp_path / "data", contract)
    for number, step in enumerate(lerobot_steps(trace(tmp_path / "data"))):
        assert step.name == str(tmp_path / "cubes") and step.state == AS_IT_WAS
        assert step.facts == {"format": "LeRobot v3.0", "episode": str(number), "episodes": "3",
                              "frames": "36", "fps": "10"}  # fmt: skip
    info = tmp_path / "cubes/meta/info.json"
    text = info.read_text()
    info.write_text(text.replace('"fps": 10', '"robot_type": "so101_follower", "fps": 10'))
    assert trace_cli.main([str(tmp_path / "data")]) == 0
    assert "; robot: so101_follower; episodes: 3;" in capsys.readouterr().out
    info.write_text("{")
    (first, *_) = lerobot_steps(trace(tmp_path / "data"))
    assert "cannot be read" in first.facts["meta/info.json"] and first.state == AS_IT_WAS
    info.unlink()
    assert lerobot_steps(trace(tmp_path / "data"))[0].facts == {
        "format": "LeRobot v3.0", "episode": "0",
    }  # fmt: skip


def test_a_file_that_many_episodes_share_is_hashed_once(tmp_path, monkeypatch):
    make_v30(tmp_path / "cubes")
    import_dataset(
        tmp_path / "cubes", tmp_path / "data", so101_contract("image.top", SHAPE, rate_hz=10.0)
    )
    hashed = []
    monkeypatch.setattr(
        "roboalign_training.origins.trace_step.sha256_file",
        lambda file: hashed.append(file.name) or sha256_file(file),
    )
    assert set(states(trace(tmp_path / "data"), LEROBOT).values()) == {AS_IT_WAS}
    assert sorted(hashed) == ["file-000.mp4", "file-000.parquet"]


def test_an_export_of_what_was_imported_leads_on_to_the_first_lerobot_data_set(tmp_path, capsys):
    make_v30(tmp_path / "cubes")
    contract = so101_contract("image.top", SHAPE, rate_hz=10.0)
    index = import_dataset(tmp_path / "cubes", tmp_path / "data", contract).index
    export_dataset(tmp_path / "data", tmp_path / "export", images="png")
    import_dataset(tmp_path / "export", tmp_path / "again")
    outer, inner, *_ = lerobot_steps(trace(tmp_path / "again"))
    assert outer.name == str(tmp_path / "export") and outer.state == AS_IT_WAS
    exported = f"data set {index.hashes['dataset'][:12]} (so101)"
    assert outer.facts["export of"] == exported and outer.facts["robot"] == "so101"
    assert (inner.name, inner.state) == ("../cubes", OF_ANOTHER)
    assert inner.facts == {"format": "LeRobot v3.0", "episode": "0"}
    assert not [s for s in trace(tmp_path / "again").walk() if s.kind == "bag"]
    # The export itself, by any of its files, says the same.
    for path in (tmp_path / "export", *(tmp_path / "export").rglob("file-000.parquet")):
        step = trace(path)
        assert step.kind == LEROBOT and step.facts["export of"] == exported
        assert [s.name for s in step.children] == sorted(index.episodes)
        assert step.children[0].children[0].facts == inner.facts
    assert trace_cli.main([str(tmp_path / "again")]) == 0
    assert "1 as it was, 1 of another data set" in capsys.readouterr().out


def test_a_lerobot_data_set_by_itself(tmp_path, capsys):
    make_v21(tmp_path / "cubes")
    for path in (tmp_path / "cubes", *(tmp_path / "cubes").rglob("episode_000000.*")):
        step = trace(path)
        assert (step.kind, step.name) == (LEROBOT, str(tmp_path / "cubes"))
        assert step.facts["format"] == "LeRobot v2.1" and step.facts["episodes"] == "3"
    assert trace_cli.main([str(tmp_path / "cubes")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 source: 1 of unknown origin"


def test_of_many_imported_episodes_a_few_are_shown(tmp_path, capsys):
    black = [np.zeros((9, *SHAPE), np.uint8)] * 9
    make_v30(tmp_path / "cubes", (9,) * 9, video=black)
    contract = so101_contract("image.top", SHAPE, rate_hz=10.0)
    import_dataset(tmp_path / "cubes", tmp_path / "data", contract)
    export_dataset(tmp_path / "data", tmp_path / "export", images="png")
    import_dataset(tmp_path / "export", tmp_path / "again")
    for folder in ("data", "again", "export"):
        assert trace_cli.main([str(tmp_path / folder)]) == 0
        assert "... and 4 more episodes (--all)" in capsys.readouterr().out


def test_fast_hashes_nothing(lab):
    step = trace(lab / "grpo" / "policy", verify=False)
    assert set(states(step, "bag").values()) == {UNCHECKED}


def test_json_holds_the_whole_way(lab, capsys):
    assert trace_cli.main([str(lab / "sft" / "policy"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "checkpoint" and len(document["children"][1]["children"]) == 4


def test_what_is_unknown_or_damaged_is_said(lab, capsys, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("x")
    assert trace_cli.main([str(tmp_path / "nothing")]) == 2
    assert "no such file" in capsys.readouterr().err
    policy = lab / "grpo" / "policy"
    record = json.loads((policy / FILE).read_text())
    del record["dataset"]
    (policy / FILE).write_text(json.dumps(record))
    with pytest.raises(ProvenanceError, match="found no dataset"):
        load_origin(policy)
    (policy / FILE).write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        trace(policy)


def test_a_file_nobody_knows_is_refused(tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone") / "a" / "b" / "c"
    alone.mkdir(parents=True)
    (alone / "a.bin").write_bytes(b"x")
    with pytest.raises(TraceError, match="nothing is known of it"):
        trace(alone / "a.bin")
