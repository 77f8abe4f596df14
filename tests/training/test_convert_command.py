"""What `roboalign convert` and `fit-tokenizer` say at their end, how they end, what they touch."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
from demo_bags import write_demo, write_recordings
from joint_bags import joint_contract, write_arm
from test_episode_names import snapshot

from roboalign_training.conversion import convert_cli
from roboalign_training.data import fit_cli
from roboalign_training.shared.left_out import STRICT_STATUS


@pytest.fixture
def recordings(tmp_path):
    return write_recordings(tmp_path / "recordings")


@pytest.fixture
def convert(tmp_path, capsys):
    """Runs the command; (status, lines on stdout, stderr)."""

    def run(*words, out=tmp_path / "set"):
        status = convert_cli.main([*map(str, words), "--out", str(out)])
        said = capsys.readouterr()
        return status, said.out.splitlines(), said.err

    return run


LEFT = (
    "left out: 1 episode (outcome not wanted), 1 frame (gripper_controller/joint_trajectory: no "
)


def test_the_last_line_says_what_was_left_out(recordings, convert):
    status, out, err = convert(recordings)
    assert status == 0
    assert out[-1].startswith(LEFT)
    assert "left out: " in err and "ep3: outcome failure" in err
    # The same again, of a data set that has everything: word and status are those of the first.
    again, said, _ = convert(recordings, "--strict")
    assert (again, said[-1]) == (STRICT_STATUS, out[-1])
    assert "(0 new episodes; 5 of 5 bags were in it before)" in said[-2]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_processes_leave_out_is_counted(recordings, convert, workers, tmp_path):
    write_demo(tmp_path / "recordings/short", count=2)
    (tmp_path / "recordings/broken").mkdir()
    (tmp_path / "recordings/broken/x.mcap").write_bytes(b"nothing")
    status, out, _ = convert(recordings, "--workers", workers, "--strict")
    assert status == STRICT_STATUS
    assert "2 episodes (1 outcome not wanted, 1 too short)" in out[-1]
    assert "1 bag (cannot be read)" in out[-1]


def test_nothing_is_left_out(tmp_path, convert):
    write_demo(tmp_path / "a")
    assert convert(tmp_path / "a", "--strict")[:2][0] == 0


def test_a_pause_is_no_loss(tmp_path, convert):
    write_demo(tmp_path / "a", pauses=((9, 14),), count=30)
    status, out, _ = convert(tmp_path / "a", "--strict")
    assert (status, out[-1]) == (0, "left out: nothing")


def test_bags_of_another_robot_are_one_summary(tmp_path, convert):
    for number in range(6):
        write_arm(tmp_path / f"bags/{number}.mcap", 1.0, prefix=f"/r{number % 2}" * (number > 3))
    status, out, err = convert(tmp_path / "bags", "--contract", "ur5e")
    assert status == 1
    assert err.count("topics of contract") == 1
    assert " and 3 more: topics of contract ur5e_" in err.replace("ur5e:", "ur5e_")
    assert out[-1] == "left out: 6 episodes (does not fit the contract)"
    assert not (tmp_path / "set").exists()


def test_a_data_set_without_an_episode_says_what_was_left_out_of_known_bags(tmp_path, convert):
    """A recorder made it; the same bags again without --append are an error, not a silence."""
    write_demo(tmp_path / "bags/a", outcome="failure")
    write_demo(tmp_path / "bags/b", count=2)
    convert(tmp_path / "bags", "--append")
    for words in ([], ["--strict"]):
        status, out, err = convert(tmp_path / "bags", *words)
        assert (status, out[-1]) == (
            1,
            "left out: 2 episodes (1 outcome not wanted, 1 too short)",
        )
        assert "no episode to put in it: " in err


def test_nothing_added_to_a_data_set_is_status_1(tmp_path, recordings, convert):
    convert(recordings)
    contract = tmp_path / "set/contract.yaml"
    for number in range(3):
        write_arm(tmp_path / f"bags/{number}.mcap", 1.0)
    status, out, err = convert(tmp_path / "bags", "--contract", contract)
    assert (status, out[-1]) == (1, "left out: 3 episodes (does not fit the contract)")
    assert err.count("topics of contract") == 1


def test_a_marker_topic_that_cannot_be_read_is_counted(tmp_path, convert, monkeypatch):
    from roboalign_training.bags import bags

    def without_episode(*args):
        topics, *rest = join(*args)
        topics["/episode"] = replace(topics["/episode"], fault="no definition")
        return topics, *rest

    join = bags.join_topics
    monkeypatch.setattr(bags, "join_topics", without_episode)
    write_demo(tmp_path / "a", custom=False, markers=((0, 19, "one", "do it", "success"),))
    status, out, _ = convert(tmp_path / "a", "--contract", "sim_panda", "--instruction", "x")
    assert status == 0
    assert out[-1].startswith("left out: 1 topic (/episode: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--contract", "ur5e"], 'or other rules: contract: found "sim_panda '),
        (["--contract", "nowhere.yaml"], "nowhere.yaml"),
        (["--min-frames", "3"], "other rules: min_frames: found null, now 3; nothing"),
        (["--min-frames", "0"], "min_frames: found 0, expected at least 1"),
        (["--images", "jpeg"], 'images: found "auto", now "jpeg"; quality: found null, now 95; '),
        (["--max-memory", "12MB"], "--max-memory"),
        (["--jumps", "keep"], 'rules: jumps: found "leave-out", now "keep"; nothing was'),
        (["--workers", "0"], "--workers: found 0, expected at least 1"),
        (["--workers", "-3"], "--workers: found -3, expected at least 1"),
    ],
)
def test_a_refused_call_changes_nothing(tmp_path, recordings, convert, words, said):
    convert(recordings)
    fit_cli.main([str(tmp_path / "set"), "--vocab-size", "128"])
    before = snapshot(tmp_path / "set")
    write_demo(tmp_path / "recordings/one_more", seed=9)
    status, _, err = convert(recordings, *words)
    assert status == 2 and said in err and len(err.splitlines()) == 1
    assert snapshot(tmp_path / "set") == before


def test_other_rules_and_another_contract_are_refused_by_what_differs(
    tmp_path, recordings, convert
):
    convert(recordings)
    before = snapshot(tmp_path / "set")
    status, _, err = convert(recordings, "--contract", "ur5e", "--min-frames", "3")
    assert status == 2 and "overwrite" not in err
    assert re.fullmatch(
        r"error: .*set: was made with another contract or other rules: contract: found "
        r'"sim_panda \w{12}", now "ur5e \w{12}"; min_frames: found null, now 3; nothing was '
        r"changed: give those, or choose another folder\n",
        err,
    )
    with pytest.raises(SystemExit) as exit_:
        convert(recordings, "--min-frames", "3", "--overwrite")
    assert exit_.value.code == 2
    assert snapshot(tmp_path / "set") == before


def test_so_is_what_a_stopped_conversion_with_other_rules_left(tmp_path, recordings, convert):
    convert(recordings)
    (tmp_path / "set/dataset.json").unlink()
    before = snapshot(tmp_path / "set")
    status, _, err = convert(recordings, "--min-frames", "3")
    assert status == 2 and "other rules: min_frames: found null, now 3; nothing was" in err
    assert snapshot(tmp_path / "set") == before


@pytest.mark.parametrize("words", [["--contract", "ur5e"], ["--min-frames", "0"], []])
def test_a_refused_call_makes_no_folder(tmp_path, convert, words):
    write_arm(tmp_path / "a.mcap", 1.0)
    status, _, _ = convert(tmp_path / "a.mcap", *words)
    assert status == (1 if words[:1] == ["--contract"] else 2)
    assert not (tmp_path / "set").exists()


def test_other_folders_are_not_written_into(tmp_path, convert):
    write_demo(tmp_path / "a")
    films = tmp_path / "set/videos/holiday"
    films.mkdir(parents=True)
    (films / "a.mp4").write_bytes(b"mine")
    status, _, err = convert(tmp_path / "a")
    assert status == 2 and "holds other files (videos) and no dataset.json" in err
    assert (films / "a.mp4").read_bytes() == b"mine"
    file = tmp_path / "file"
    file.write_text("x")
    assert "is a file, expected the folder" in convert(tmp_path / "a", out=file)[2]
    assert file.read_text() == "x"


def test_an_old_data_set_without_causes_is_told(tmp_path, recordings, convert):
    convert(recordings)
    path = tmp_path / "set/dataset.json"
    document = json.loads(path.read_text())
    for sheet in document["balance"]:
        del sheet["frames"]["causes"]
    path.write_text(json.dumps(document))
    status, out, _ = convert(recordings)
    assert status == 0 and out[-1].startswith(LEFT)


class TestFitTokenizer:
    """`roboalign fit-tokenizer` on the data set of the five recordings."""

    @pytest.fixture
    def fit(self, tmp_path, recordings, convert, capsys):
        convert(recordings)

        def run(*words, folder=tmp_path / "set"):
            status = fit_cli.main([str(folder), *words])
            said = capsys.readouterr()
            return status, said.out.splitlines(), said.err

        return run

    def test_chunks_across_a_hole_are_counted(self, fit):
        status, out, _ = fit("--vocab-size", "128")
        assert (status, out[-1]) == (0, "left out: 7 chunks (a frame is missing within it)")
        assert fit("--vocab-size", "128", "--strict")[0] == STRICT_STATUS

    def test_a_repeated_call_changes_nothing(self, fit, tmp_path):
        fit("--vocab-size", "128")
        before = snapshot(tmp_path / "set")
        status, out, _ = fit("--vocab-size", "128")
        assert status == 0 and "nothing was changed" in " ".join(out)
        assert snapshot(tmp_path / "set") == before

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--vocab-size", "140"], "fitted with vocab_size 128 (found 140)"),
            (["--vocab-size", "128", "--scale", "5"], "fitted with scale 10.0 (found 5.0)"),
            (["--vocab-size", "10", "--overwrite"], "--vocab-size 10"),
            (["--vocab-size", "128", "--scale", "-1", "--overwrite"], "--scale -1"),
            (["--held-out", "1.5", "--overwrite"], "held_out: found 1.5, expected 0 to below 1"),
        ],
    )
    def test_a_refused_call_changes_nothing(self, fit, tmp_path, words, said):
        fit("--vocab-size", "128")
        before = snapshot(tmp_path / "set")
        status, _, err = fit(*words)
        assert status == 2 and said in err.replace("\n", " ")
        assert snapshot(tmp_path / "set") == before

    def test_more_data_needs_overwrite(self, fit, tmp_path, convert):
        fit("--vocab-size", "128")
        write_demo(tmp_path / "recordings/one_more", seed=9)
        convert(tmp_path / "recordings")
        status, _, err = fit("--vocab-size", "128")
        assert status == 2 and "fitted before episodes were added" in err.replace("\n", " ")
        assert fit("--vocab-size", "128", "--overwrite")[0] == 0
        assert fit("--vocab-size", "128")[0] == 0

    def test_a_damaged_tokenizer_is_made_anew(self, fit, tmp_path):
        fit("--vocab-size", "128")
        before = (tmp_path / "set/stats.json").read_bytes()
        shutil.rmtree(tmp_path / "set/fast")
        assert fit("--vocab-size", "128")[0] == 0
        assert (tmp_path / "set/fast").is_dir()
        assert (tmp_path / "set/stats.json").read_bytes() == before

    def test_no_data_set_is_made(self, fit, tmp_path):
        status, _, err = fit(folder=tmp_path / "nowhere")
        assert status == 2 and "is no data set" in err.replace("\n", " ")
        assert not (tmp_path / "nowhere").exists()


def test_contract_of_the_made_up_arm_is_valid():
    assert joint_contract().rate_hz == 10.0
