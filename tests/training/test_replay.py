"""Replay without ROS: what counts as the same, which errors are counted, what is drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from demo_bags import sim_contract, write_demo
from PIL import Image

from roboalign_policy.core.contract.contract import ContractError, contract_from_dict
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.fast.errors import CoefficientRangeError
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.evaluate.replay import (
    ReplayAnswer,
    ReplaySettings,
    compare,
    lockstep_contract,
    make_recording,
    read_answers,
)
from roboalign_training.evaluate.replay_cli import main, path_from
from roboalign_training.evaluate.replay_report import (
    chunk_errors,
    has_whole_chunk,
    make_report,
    plot_actions,
    plot_errors,
    summary,
)

HORIZON, COUNT = 8, 12
NAMES = sim_contract().action.names
OFFSETS = np.array([0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 0.5])
RED = (0xD9, 0x30, 0x25)


def answer(stamp_ns, actions, status=ChunkStatus.OK, tokens=(1, 2, 3), inference_s=0.1):
    array = None if actions is None else np.array(actions, np.float32)
    detail = "" if status == ChunkStatus.OK else "no"
    return ReplayAnswer(int(stamp_ns), status, detail, array, list(tokens), inference_s)


def random_answers(count=4, seed=0):
    rng = np.random.default_rng(seed)
    return [answer(n, rng.uniform(-1, 1, (HORIZON, 7))) for n in range(count)]


def changed(answers, number, **values):
    return [dataclasses.replace(a, **values) if n == number else a for n, a in enumerate(answers)]


def shifted(answers, number, step, dim, by):
    actions = answers[number].actions.astype(np.float64)
    actions[step, dim] += by
    return changed(answers, number, actions=actions)


@pytest.fixture
def recording(tmp_path):
    demo = write_demo(tmp_path / "ep", count=COUNT)
    return make_recording(read_bag(demo.folder), sim_contract())


def test_equal_answers_are_identical():
    identity = compare(random_answers(), random_answers(), range(4), NAMES)
    assert (identity.n, identity.valid, identity.greatest, identity.fault) == (4, 4, 0.0, "")


@pytest.mark.parametrize(("by", "same"), [(5e-7, True), (-5e-6, False), (np.nan, False)])
def test_a_difference_is_found_where_it_is(by, same):
    offline = random_answers()
    live = shifted(offline, 2, 5, 1, by)
    identity = compare(live, offline, [0, 5, 10, 15], NAMES)
    assert identity.where == "frame 10, step 5, dy"
    assert (identity.fault == "") == same
    if not same:
        assert identity.fault.startswith("frame 10, step 5, dy: live and offline differ by")


def test_invalid_chunks_must_be_invalid_on_both_sides():
    valid = random_answers()
    invalid = changed(valid, 1, actions=None, status=ChunkStatus.UNDECODABLE, detail="too few")
    both = compare(invalid, invalid, range(4), NAMES)
    assert (both.n, both.valid, both.fault) == (4, 3, "")
    fault = compare(invalid, valid, range(4), NAMES).fault
    assert fault == "frame 1: live undecodable (too few), offline ok"
    assert compare(valid, invalid, range(4), NAMES).fault
    none = [answer(n, None, ChunkStatus.UNDECODABLE) for n in range(3)]
    assert compare(none, none, range(3), NAMES).greatest is None


def test_answers_to_other_frames_are_not_compared():
    answers = random_answers()
    for live in (answers[:-1], [*answers[1:], answers[0]]):
        with pytest.raises(ValueError, match="expected one to each of 4 frames in order"):
            compare(live, answers, range(4), NAMES)


def test_answers_survive_their_file_to_the_bit(tmp_path):
    answers = [*random_answers(), answer(9, None, ChunkStatus.UNDECODABLE)]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(a.to_json() + "\n" for a in answers))
    read = read_answers(path)
    assert [vars(a) | {"actions": 0} for a in read] == [vars(a) | {"actions": 0} for a in answers]
    for a, b in zip(read[:-1], answers[:-1], strict=True):
        assert a.actions.dtype == np.float32
        np.testing.assert_array_equal(a.actions, b.actions)
    assert read[-1].actions is None


def test_lock_step_aligns_every_stream_on_the_header():
    data = sim_contract().to_dict()
    data["observations"][3]["align"]["clock"] = "receive"
    contract = contract_from_dict(data)
    aligned = lockstep_contract(contract)
    assert {stream.align.clock for stream in aligned.observations} == {"header"}
    assert aligned.hash == sim_contract().hash  # nothing else was changed


def test_a_stream_without_header_is_refused():
    data = sim_contract().to_dict()
    data["observations"][3].update(
        type="geometry_msgs/msg/Point", align={"method": "hold", "clock": "receive",
                                               "tolerance_s": 0.05},
        fields=[{"name": "width", "path": "x", "unit": "m"}],
    )  # fmt: skip
    with pytest.raises(ContractError, match=r"observations\[3\].type: found geometry_msgs/msg/Po"):
        lockstep_contract(contract_from_dict(data))


def test_only_chunks_that_were_demonstrated_whole_are_counted():
    indices = np.array([0, 1, 2, 3, 5, 6, 7, 8, 9])
    assert has_whole_chunk(indices, 3).tolist() == [1, 1, 0, 0, 1, 1, 1, 0, 0]
    assert has_whole_chunk(indices[:2], 3).tolist() == [0, 0]
    assert has_whole_chunk(indices[:3], 3).tolist() == [1, 0, 0]


def test_frames_are_chosen_evenly_and_up_to_a_number(recording):
    assert recording.chosen(ReplaySettings()) == list(range(COUNT))
    assert recording.chosen(ReplaySettings(every=5)) == [0, 5, 10]
    assert recording.chosen(ReplaySettings(every=5, max_frames=2)) == [0, 5]


def answered(recording):
    """Answers that are off by OFFSETS in the first step, twice that in the others."""
    frames = recording.frames
    padded = np.concatenate([frames.actions, np.zeros((HORIZON, 7))])
    weights = np.array([1.0] + [2.0] * (HORIZON - 1))[:, None]
    return [
        answer(stamp, padded[n : n + HORIZON] + weights * OFFSETS, inference_s=0.1 * (n + 1))
        for n, stamp in enumerate(frames.stamps_ns)
    ]


def report_of(recording, answers):
    rows = range(len(answers))
    identity = compare(answers, answers, rows, NAMES)
    return make_report(
        recording, rows, answers, identity, lambda chunks: [[1, 2, 4, 5]] * len(chunks),
        ReplaySettings(),
    )  # fmt: skip


def test_the_report_holds_what_was_put_in(recording):
    answers = changed(answered(recording), 2, actions=None, status=ChunkStatus.UNDECODABLE)
    report = report_of(recording, answers)
    whole = COUNT - HORIZON + 1
    assert report["frames"] == {
        "episode": COUNT, "asked": COUNT, "whole_chunk": whole, "dropped": {}, "trimmed": {},
    }  # fmt: skip
    assert report["validity"]["faults"] == {"undecodable": 1}
    assert report["validity"]["valid"] == COUNT - 1
    for name, offset in zip(NAMES, OFFSETS, strict=True):
        entry = report["by_dimension"][name]
        assert entry["n"] == whole - 1  # the invalid one has no error
        assert entry["mean"] == pytest.approx(offset * 15 / 8, abs=1e-6)
        assert entry["interval"] == pytest.approx((entry["mean"],) * 2, abs=1e-6)
        assert entry["by_step"] == pytest.approx([offset, *[2 * offset] * 7], abs=1e-6)
    assert report["action_l1"]["mean"] == pytest.approx(OFFSETS.mean() * 15 / 8, abs=1e-6)
    assert report["prefix_accuracy"]["mean"] == 0.5  # two of four tokens
    assert report["prefix_accuracy"]["n"] == whole
    assert report["inference_s"]["p50"] == pytest.approx(0.65)
    assert report["identity"]["same"]
    text = summary(report)
    assert "identical to the offline evaluation" in text and "NOT" not in text
    assert "| dy | 0.05 m | 0.375 (0.375 to 0.375), n = 4 | 0.200 | 0.400 |" in text


def test_chunks_that_the_tokenizer_cannot_say_are_told_apart(recording):
    answers = answered(recording)

    def encode(chunks):
        if np.array_equal(chunks[0, 0], recording.frames.actions[1]):
            raise CoefficientRangeError("too fast")
        return [[1, 2, 4, 5]]

    report = make_report(
        recording, range(COUNT), answers, compare(answers, answers, range(COUNT), NAMES), encode,
        ReplaySettings(),
    )  # fmt: skip
    whole = COUNT - HORIZON + 1
    assert (report["prefix_accuracy"]["n"], report["prefix_accuracy"]["no_tokens"]) == (
        whole - 1,
        1,
    )
    assert report["by_dimension"]["dx"]["n"] == whole
    assert "1 left out: outside what the policy's tokens can say" in summary(report)


def test_an_episode_shorter_than_a_chunk_has_no_errors(tmp_path):
    demo = write_demo(tmp_path / "short", count=HORIZON - 1)
    recording = make_recording(read_bag(demo.folder), sim_contract())
    report = report_of(recording, answered(recording))
    assert report["by_dimension"]["dx"]["mean"] is None
    assert (report["action_l1"]["n"], report["prefix_accuracy"]["n"]) == (0, 0)
    assert report["validity"]["valid"] == HORIZON - 1
    assert "| dx | 0.05 m | no whole chunk | - | - |" in summary(report)
    plot_errors(tmp_path / "errors.png", recording.contract, report)
    assert Image.open(tmp_path / "errors.png").width > 400


def test_a_missing_frame_breaks_the_chunks_that_cross_it(tmp_path):
    demo = write_demo(tmp_path / "gap", count=20, without_command=(10,))
    recording = make_recording(read_bag(demo.folder), sim_contract())
    answers = answered(recording)
    errors = chunk_errors(answers, range(len(answers)), recording.frames, HORIZON)
    assert errors.shape == (3 + 2, HORIZON, 7)  # frames 0 .. 2 and 11, 12
    np.testing.assert_allclose(errors[:, 0], np.tile(OFFSETS, (5, 1)), atol=1e-6)


def pixels(path, colour):
    return int((np.array(Image.open(path).convert("RGB")) == colour).all(axis=2).sum())


def test_pictures_show_invalid_chunks_and_errors(recording, tmp_path):
    answers, path = answered(recording), tmp_path / "actions.png"
    plot_actions(path, recording, range(COUNT), answers)
    assert pixels(path, RED) == 0
    plot_actions(
        path,
        recording,
        range(COUNT),
        changed(answers, 2, actions=None, status=ChunkStatus.UNDECODABLE),
    )
    assert pixels(path, RED) > 10
    report = report_of(recording, answers)
    plot_errors(tmp_path / "errors.png", recording.contract, report)
    # The last row, the gripper's, is the darkest; the middle ones have no error at all.
    image = np.array(Image.open(tmp_path / "errors.png").convert("L")).astype(int)
    column = image[:, image.shape[1] // 3]
    assert column.min() < 100 < 240 < column.max()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--every", "0"], "every: found 0, expected 1 or more"),
        (["--max-frames", "-1"], "max_frames: found -1, expected 0 or more"),
        ([], "found no roboalign.json, expected a checkpoint"),
    ],
)
def test_wrong_options_are_told_in_one_line(tmp_path, capsys, options, expected):
    (tmp_path / "policy").mkdir()
    argv = [str(tmp_path / "bag"), "--policy", str(tmp_path / "policy"), *options]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("roboalign replay: ") and expected in error
    assert error.count("\n") == 1


def test_a_policy_stands_in_a_report_as_seen_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    for out in (tmp_path / "out" / "ep", Path("out/ep"), Path("link/ep")):
        assert path_from(out, Path("sft/policy")) == "../../sft/policy"
    assert path_from(tmp_path, Path("/elsewhere/policy")) == "/elsewhere/policy"


def test_a_missing_policy_is_named_as_one(tmp_path, capsys):
    assert main([str(tmp_path / "bag"), "--policy", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert f"policy: {tmp_path / 'none'}: found no such folder" in error


def test_a_bag_without_a_whole_frame_says_why(tmp_path):
    demo = write_demo(tmp_path / "ep", count=2, without_image=(0,), without_command=(1,))
    with pytest.raises(
        EpisodeError, match="no frame has every stream and a command: .*no command"
    ):
        make_recording(read_bag(demo.folder), sim_contract())
