"""`roboalign inspect --html`: what stands on the page, from which samples, and what cannot run."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from demo_bags import STORE, make_actions, sim_contract, write_demo
from look_pages import Page, line, plot_of, unpack
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer

from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_policy.fast import FastTokenizer
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.fit import fit_dataset, load_action_stats
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.episodes.channels import Axis, Channel, Moment
from roboalign_training.episodes.framing import frames_from_bag
from roboalign_training.look import budget, inspect_cli
from roboalign_training.look.document import document
from roboalign_training.look.inspect import inspect_bag
from roboalign_training.look.inspect_views import View
from roboalign_training.look.look import Look
from roboalign_training.look.page import render_page
from roboalign_training.look.plain import numbers_of
from roboalign_training.look.scene import ShownEpisode

HOSTILE = "</script><img src=x onerror=alert(1)>"
TWIST = "action"  # the first of its groups
SHARED = next(
    (p / "shared/data" for p in Path(__file__).resolve().parents if (p / "shared/data").is_dir()),
    None,
)


def page_of(path, tmp_path, *options, status=0) -> Page:
    out = tmp_path / "page.html"
    argv = [str(path), "--html", str(out), "--overwrite", *map(str, options)]
    assert inspect_cli.main(argv) == status
    return Page(out)


def images_of(camera: dict) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in camera["jpegs"]]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A data set of three episodes, one with a hole in its frames."""
    folder = tmp_path_factory.mktemp("set")
    for i in range(3):
        write_demo(folder / f"ep{i}", seed=i, count=20 + i,
                   without_command=(10,) if i == 2 else ())  # fmt: skip
    write_demo(folder / "ep3", seed=3, outcome="failure", instruction="not this one")
    build_dataset([folder / f"ep{i}" for i in range(4)], None, folder / "data")
    fit_dataset(folder / "data", vocab_size=128)
    return folder / "data"


def test_bag_as_it_was_recorded(tmp_path):
    demo = write_demo(tmp_path / "ep", count=20, without_image=(5, 6, 7))
    page = page_of(demo.folder, tmp_path, status=1)
    (episode,) = page.data["episodes"]
    assert episode["instruction"] == "put the red cube on the blue plate"
    assert (episode["outcome"], episode["verdict"]) == ("success", "")
    assert episode["seconds"] == pytest.approx(1.9)
    times, values = line(episode, TWIST, "dx")
    np.testing.assert_allclose(times, (demo.stamps_ns - demo.stamps_ns[0]) / 1e9, atol=1e-6)
    np.testing.assert_allclose(values, demo.actions[:, 0], atol=1e-6)
    dx = plot_of(episode, TWIST, "dx")
    assert (dx["unit"], dx["limits"], dx["outside"]) == ("0.05 m", [-1.0, 1.0], "")
    _, values = line(episode, "state.ee", "x")
    np.testing.assert_allclose(values, demo.ee[:, 0], atol=1e-6)
    assert episode["groups"][0]["kind"] == "action"
    (camera,) = episode["cameras"]
    assert camera["share"] == "all 17 of 17 images, 128 x 128"
    shown = [i for i in range(20) if i not in (5, 6, 7)]
    np.testing.assert_allclose(unpack(camera["times"]), np.array(shown) / 10, atol=1e-6)
    for found, i in zip(images_of(camera), shown, strict=True):
        assert np.abs(found.astype(int) - demo.images[i]).mean() < 4
    rows = {row["name"]: row for row in page.data["timeline"]["rows"]}
    front = rows["/camera/front/image_raw"]
    ((start, length),) = front["gaps"]
    assert (start, length) == (pytest.approx(0.4), pytest.approx(0.4))
    assert front["faults"] == ["gap of 0.40 s after message 5, max_age_s is 0.3 s"]
    assert rows["/ee_pose"]["gaps"] == []
    assert sum(rows["/ee_pose"]["density"]) == 20
    assert episode["timeline_s"] == pytest.approx(0, abs=1e-6)


def test_faults_and_origin_are_in_plain_text(tmp_path):
    demo = write_demo(tmp_path / "ep", count=20, verdict="unfit: 3 messages of ee_pose lost",
                      without_image=(5, 6, 7))  # fmt: skip
    page = page_of(demo.folder, tmp_path, status=1)
    text = " ".join(page.prose)
    assert "2 faults" in text  # the gap, and the verdict
    assert "The episode is not fit for training." in text
    assert "/camera/front/image_raw: gap of 0.40 s after message 5" in text
    assert "120 messages" not in text
    assert "recorder's verdict: unfit: 3 messages of ee_pose lost" in page.cells
    assert read_bag(demo.folder).sha256 in page.cells
    assert sim_contract().hash[:12] in text
    assert page.data["episodes"][0]["verdict"].endswith("3 messages of ee_pose lost")


def test_page_needs_nothing_else_and_lets_nothing_else_run(tmp_path):
    demo = write_demo(tmp_path / "ep", count=12)
    page = page_of(demo.folder, tmp_path)
    for tag, attributes in page.tags:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag not in ("img", "link", "iframe", "object")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page.text)
    policy = next(
        a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:; script-src 'sha256-")
    assert "unsafe" not in policy
    (script,) = [text for attributes, text in page.scripts if not attributes]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    for name in ("episode", "play", "back", "forward", "seek", "speed"):
        page.with_id(name)
    assert page.with_id("seek")["aria-label"]


def test_hostile_strings_stay_text(tmp_path):
    demo = write_demo(tmp_path / "ep", count=12, instruction=HOSTILE, prefix=f"/{HOSTILE}/")
    page = page_of(demo.folder, tmp_path, status=1)  # an instruction has no tags
    assert HOSTILE not in page.text
    assert len(page.scripts) == 2
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert page.data["episodes"][0]["instruction"] == HOSTILE
    assert f"/{HOSTILE}/ee_pose" in {row["name"] for row in page.data["timeline"]["rows"]}
    assert HOSTILE in page.cells
    assert f"/{HOSTILE}/ee_pose" in page.cells


def test_every_reason_against_an_episode_is_named(tmp_path):
    demo = write_demo(tmp_path / "ep", count=30, outcome="failure", verdict="unfit: too few",
                      without_command=tuple(range(8, 18)))  # fmt: skip
    page = page_of(demo.folder, tmp_path, status=1)
    verdict = page.data["episodes"][0]["verdict"]
    assert verdict.startswith("outcome failure; recorder's verdict: unfit: too few; gap of 1.10 s")


def test_numbers_of_a_message():
    t = STORE.types
    stamp = t["builtin_interfaces/msg/Time"](7, 8)
    marker = t["roboalign_msgs/msg/Episode"](stamp, 1, "a", "b", "success", "c", "d")
    assert dict(numbers_of(marker)) == {"event": 1.0}
    point = t["geometry_msgs/msg/Point"](1.0, 2.0, float("nan"))
    turn = t["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
    pose = t["geometry_msgs/msg/PoseWithCovariance"](
        t["geometry_msgs/msg/Pose"](point, turn), np.zeros(36)
    )
    names = [name for name, _ in numbers_of(pose)]
    assert names[:3] == ["pose.position.x", "pose.position.y", "pose.position.z"]
    assert len(names) == 7


def test_hostile_names_without_a_contract(tmp_path):
    names = {"/" + HOSTILE: [HOSTILE, "b"], "/plain": ["\u2028", "</style>"]}
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, joints in names.items():
            connection = writer.add_connection(
                topic, "sensor_msgs/msg/JointState", typestore=STORE
            )
            for i in range(10):
                t = STORE.types
                header = t["std_msgs/msg/Header"](t["builtin_interfaces/msg/Time"](0, i), HOSTILE)
                numbers = np.array([i, np.nan if i == 3 else -i], float)
                none = np.zeros(0)
                message = t["sensor_msgs/msg/JointState"](header, joints, numbers, none, none)
                data = STORE.serialize_cdr(message, message.__msgtype__)
                writer.write(connection, 10**18 + i * 10**8, data)
    page = page_of(tmp_path / "bag", tmp_path)
    assert HOSTILE not in page.text
    assert page.text.count("</style>") == 1
    (episode,) = page.data["episodes"]
    times, values = line(episode, "/" + HOSTILE, f"position[{HOSTILE}]")
    np.testing.assert_allclose(values, np.arange(10))
    np.testing.assert_allclose(times, np.arange(10) / 10, atol=1e-6)
    plot = plot_of(episode, "/plain", "position[</style>]")
    assert (plot["not_finite"], plot["unit"]) == (1, "as recorded")
    assert episode["verdict"] is None


def test_episodes_of_one_bag_are_chosen(tmp_path):
    marks = ((0, 9, "one", "open the drawer", "success"), (12, 21, "two", "close it", "failure"))
    demo = write_demo(tmp_path / "ep", count=24, custom=False, markers=marks)
    options = ("--contract", "sim_panda")
    page = page_of(demo.folder, tmp_path, *options)
    assert [e["id"] for e in page.data["episodes"]] == ["one", "two"]
    first, second = page.data["episodes"]
    assert second["verdict"] == "outcome failure"
    assert second["timeline_s"] == pytest.approx(-1.2, abs=1e-3)
    times, values = line(second, TWIST, "dy")
    np.testing.assert_allclose(values, demo.actions[12:22, 1], atol=1e-6)
    assert [event[1] for event in first["events"]] == ["episode one starts", "episode one ends"]
    page = page_of(demo.folder, tmp_path, *options, "--episode", "two")
    assert [e["id"] for e in page.data["episodes"]] == ["two"]
    assert "1 of 2 episodes are shown; choose others with --episode ID" in page.prose


def test_episode_that_is_not_there(tmp_path, fitted, capsys):
    demo = write_demo(tmp_path / "ep", count=12)
    for path in (demo.folder, fitted):
        out = tmp_path / "page.html"
        assert inspect_cli.main([str(path), "--html", str(out), "--episode", "nine"]) == 1
        assert "no episode nine; it has ep" in capsys.readouterr().err
        assert not out.exists()
    with pytest.raises(SystemExit):
        inspect_cli.main([str(fitted), "--episode", "ep0"])


def test_stamps_of_another_clock_are_drawn_on_one_axis():
    scene, start = ShownEpisode("sim"), 10**18
    stamped, received = (
        Channel(name, name, "state", (Axis("x", "m"),), name) for name in ("header", "receive")
    )
    for channel in (stamped, received):
        scene.declare(channel)
    for i in range(10):
        late = 150_000_000 if i == 9 else 0
        now = start + i * 100_000_000
        when = Moment(5 * 10**9 + i * 100_000_000, now + late)
        scene.vector("header", when, np.array([i]))
        scene.vector("receive", Moment(now, now), np.array([i]))
    scene.event(Moment(start, start), "task", "go")
    look = Look(View("bag"), [scene], range_ns=(start - 10**9, start + 2 * 10**9))
    (episode,) = document(look)["episodes"]
    for group in episode["groups"]:
        times = unpack(group["plots"][0]["lines"][0]["t"])
        np.testing.assert_allclose(times, np.arange(10) / 10, atol=1e-6)
    assert episode["timeline_s"] == pytest.approx(-1.0)
    assert episode["events"] == [[0.0, "task", "go"]]
    (note,) = episode["notes"]
    assert "999999995.000 s before them" in note
    assert "run apart by up to 0.15 s" in note


def test_latency_is_no_other_clock():
    scene = ShownEpisode("robot")
    scene.declare(Channel("a", "a", "state", (Axis("x", "m"),)))
    scene.vector("a", Moment(10**18, 10**18 + 30_000_000), np.array([0.0]))
    assert (scene.shift_ns, scene.clock_note) == (0, None)


def test_bag_that_does_not_fit_its_contract_is_shown_as_recorded(tmp_path):
    demo = write_demo(tmp_path / "ep", count=9, twist_type="geometry_msgs/msg/Twist")
    page = page_of(demo.folder, tmp_path, status=1)
    (episode,) = page.data["episodes"]
    assert "expected geometry_msgs/msg/TwistStamped" in episode["verdict"]
    _, values = line(episode, "/servo_node/delta_twist_cmds", "linear.x")
    np.testing.assert_allclose(values, demo.actions[:, 0] * 0.5, atol=1e-6)
    assert episode["cameras"][0]["share"] == "all 9 of 9 images, 128 x 128"


def test_data_set_with_its_tokens(tmp_path, fitted):
    page = page_of(fitted, tmp_path)
    assert [e["id"] for e in page.data["episodes"]] == ["ep0", "ep1", "ep2"]
    data = load_frames(fitted)
    tokenizer, stats = (
        FastTokenizer.load(fitted / "fast"),
        load_action_stats(fitted / "stats.json"),
    )
    greatest = []
    for shown, episode in zip(page.data["episodes"], data.episodes, strict=True):
        rows = slice(episode.start, episode.stop)
        chunks, usable = data.chunks()[rows], data.usable[rows]
        fast = shown["fast"]
        assert (fast["chunks"], fast["step"]) == (len(episode), 1)
        tokens = tokenizer.encode(stats.normalise(chunks[usable]).astype(np.float64))
        assert [ids for ids in fast["tokens"] if ids is not None] == tokens
        assert [ids is not None for ids in fast["tokens"]] == usable.tolist()
        decoded = unpack(fast["decoded"]).reshape(chunks.shape)
        expected = stats.denormalise(tokenizer.decode(tokens, horizon=8, dims=7))
        np.testing.assert_allclose(decoded[usable], expected, atol=1e-6)
        error = np.abs(expected - chunks[usable])
        for d, (rms, most, at) in enumerate(fast["errors"]):
            assert rms == pytest.approx(np.sqrt((error[..., d] ** 2).mean()), rel=1e-6)
            assert most == pytest.approx(error[..., d].max(), rel=1e-6)
            frame = np.flatnonzero(usable)[error[..., d].max(axis=1).argmax()]
            assert unpack(fast["times"])[frame] == pytest.approx(at, abs=1e-5)
        _, drawn = line(shown, "FAST error of the chunk that begins here", "dz", 1)
        np.testing.assert_allclose(drawn[usable], error[..., 2].max(axis=1), rtol=1e-6)
        assert sum(n for _, n in fast["lengths"]) == usable.sum() == len(tokens)
        assert fast["ids_total"] == sum(map(len, tokens))
        greatest.append(error.reshape(-1, 7).max(axis=0))
        _, values = line(shown, "action", "gripper")
        np.testing.assert_array_equal(values, data.actions[rows, 6])
    assert f"{np.max(greatest, axis=0)[2]:.5f}" in page.cells
    holed = page.data["episodes"][2]
    assert holed["fast"]["fault_count"] == 7
    assert holed["fast"]["faults"][0][1] == "a frame is missing inside the chunk"
    ((start, length),) = holed["timeline"]["rows"][0]["gaps"]
    assert (start, length) == (pytest.approx(0.9), pytest.approx(0.2))
    about = dict(map(tuple, holed["about"]))
    assert about["source"] == "../ep2"
    assert about["bag_sha256"] == read_bag(fitted.parent / "ep2").sha256
    assert "outcome failure" in page.cells
    assert data.hashes["dataset"] in page.cells


def test_chunk_that_the_tokenizer_cannot_say(tmp_path):
    write_demo(tmp_path / "a", count=20, actions=np.zeros((20, 7), np.float32))
    build_dataset([tmp_path / "a"], None, tmp_path / "set")
    fit_dataset(tmp_path / "set", vocab_size=128)
    write_demo(tmp_path / "b", count=20, actions=make_actions(20, np.random.default_rng(0)))
    build_dataset([tmp_path / "b"], None, tmp_path / "set")
    page = page_of(tmp_path / "set", tmp_path)
    assert "the tokenizer was fitted before the data set's last change" in page.prose
    fast = page.data["episodes"][1]["fast"]
    assert fast["fault_count"] > 0
    assert "DCT coefficient" in fast["faults"][0][1]


def test_data_set_without_tokenizer(tmp_path):
    write_demo(tmp_path / "ep", count=12)
    build_dataset([tmp_path / "ep"], None, tmp_path / "set")
    page = page_of(tmp_path / "set", tmp_path)
    assert page.data["episodes"][0]["fast"] is None
    assert "none yet" in " ".join(page.prose)


def test_what_is_left_out_is_said(tmp_path, fitted, monkeypatch):
    page = page_of(fitted, tmp_path, "--max-frames", 4)
    camera = page.data["episodes"][0]["cameras"][0]
    assert camera["share"] == "every 8th: 3 of 20 images, 128 x 128"
    assert len(camera["jpegs"]) == 3
    monkeypatch.setattr(budget, "CURVE_POINTS", 0)
    monkeypatch.setattr(budget, "LEAST_BUCKETS", 4)
    monkeypatch.setattr(budget, "CHUNK_VALUES", 1200)
    page = page_of(fitted, tmp_path)
    episode = page.data["episodes"][0]
    assert (
        "action: 20 samples, of every 4 the least and the greatest are drawn" in episode["notes"]
    )
    _, values = line(episode, "action", "dx")
    actions = load_frames(fitted).actions[:20, 0]
    assert len(values) < 20
    assert (values.min(), values.max()) == (actions.min(), actions.max())
    assert episode["fast"]["step"] == 3
    assert len(episode["fast"]["tokens"]) == 7


def jpeg_bytes(page):
    """Of all images of a page; each camera of each episode has one."""
    images = [c["jpegs"] for e in page.data["episodes"] for c in e["cameras"]]
    assert all(images)
    return sum(len(text) for jpegs in images for text in jpegs) * 3 / 4


def test_many_episodes_are_on_several_small_pages(tmp_path, monkeypatch, capsys):
    for i in range(5):
        write_demo(tmp_path / f"ep{i}", count=60, seed=i)
    build_dataset([tmp_path / f"ep{i}" for i in range(5)], None, tmp_path / "set")
    fit_dataset(tmp_path / "set", vocab_size=128)
    monkeypatch.setattr(budget, "IMAGE_BYTES", 300_000)
    monkeypatch.setattr("roboalign_training.look.look.MOST_EPISODES", 2)
    first = page_of(tmp_path / "set", tmp_path)
    said = capsys.readouterr().out
    pages = [first, *(Page(tmp_path / f"page-{n}.html") for n in (2, 3))]
    assert all(f"written: {tmp_path / f'page{end}.html'}" in said for end in ("", "-2", "-3"))
    shown = [[e["id"] for e in page.data["episodes"]] for page in pages]
    assert shown == [["ep0", "ep1"], ["ep2", "ep3"], ["ep4"]]
    assert all(jpeg_bytes(page) <= 300_000 for page in pages)
    assert jpeg_bytes(pages[1]) > 100_000, "a page behind the first has a budget of its own"
    links = [[a["href"] for tag, a in page.tags if tag == "a"] for page in pages]
    rows = ["#episode=ep0", "#episode=ep1", "page-2.html#episode=ep2", "page-2.html#episode=ep3",
            "page-3.html#episode=ep4"]  # fmt: skip
    assert links[0] == ["page-2.html", "page-3.html", *rows]
    assert links[1] == ["page.html", "page-3.html"]
    assert "5–5" in pages[2].prose
    for page, count in zip(pages, (120, 120, 60), strict=True):
        assert f"FAST reconstruction over {count} chunks" in " ".join(page.prose)
    assert not (tmp_path / "page-4.html").exists()


def test_many_episodes_of_a_bag_too(tmp_path, monkeypatch):
    marks = [(8 * i, 8 * i + 7, f"e {i}", "open it", "success") for i in range(3)]
    demo = write_demo(tmp_path / "ep", count=24, custom=False, markers=tuple(marks))
    monkeypatch.setattr("roboalign_training.look.look.MOST_EPISODES", 2)
    first = page_of(demo.folder, tmp_path, "--contract", "sim_panda")
    second = Page(tmp_path / "page-2.html")
    assert [e["id"] for p in (first, second) for e in p.data["episodes"]] == ["e 0", "e 1", "e 2"]
    _, values = line(second.data["episodes"][0], TWIST, "dy")
    np.testing.assert_allclose(values, demo.actions[16:24, 1], atol=1e-6)
    hrefs = [a["href"] for tag, a in first.tags if tag == "a"]
    assert hrefs == ["page-2.html", "#episode=e%200", "#episode=e%201",
                     "page-2.html#episode=e%202"]  # fmt: skip


def test_a_file_that_is_no_page_is_not_written_over(tmp_path, fitted, monkeypatch, capsys):
    monkeypatch.setattr("roboalign_training.look.look.MOST_EPISODES", 2)
    for name in ("page.html", "page-2.html"):
        (tmp_path / name).write_text("my notes")
        command = [str(fitted), "--html", str(tmp_path / "page.html")]
        assert inspect_cli.main(command) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"{name}: found a file that is no page of roboalign inspect" in said
        assert (tmp_path / name).read_text() == "my notes"
        (tmp_path / name).unlink()
    page_of(fitted, tmp_path)
    page_of(fitted, tmp_path)  # its own pages are


def test_marks_beside_an_episode():
    def badges(**given):
        return ShownEpisode("a", **given).badges

    assert badges(outcome="success", verdict="") == [
        ("good", "outcome: success"), ("good", "fit for training")]  # fmt: skip
    assert badges(outcome="failure", verdict="too short") == [
        ("bad", "outcome: failure"), ("bad", "not fit for training: too short")]  # fmt: skip
    assert badges(outcome="unknown") == [
        ("small", "outcome: unknown"), ("small", "not judged: no contract")]  # fmt: skip
    assert badges(marks=[("small", "12 steps")]) == [("small", "12 steps")]


def test_frames_without_pictures_are_the_frames(tmp_path):
    demo = write_demo(tmp_path / "ep", count=30, without_image=(5, 6, 7), without_command=(20,))
    bag, contract = read_bag(demo.folder), sim_contract()
    (episode,) = inspect_bag(bag, contract).episodes
    light, whole = episode.frames, frames_from_bag(bag, contract)
    assert (light.dropped, light.trimmed) == (whole.dropped, whole.trimmed)
    np.testing.assert_array_equal(light.indices, whole.indices)
    np.testing.assert_array_equal(light.actions, whole.actions)
    for stream in contract.states:
        np.testing.assert_array_equal(light.values[stream.key], whole.values[stream.key])
    assert "image.front" not in light.values
    np.testing.assert_array_equal(light.pictures["image.front"], whole.pictures["image.front"])


def test_unreadable_images_count_as_in_a_conversion(tmp_path):
    demo = write_demo(tmp_path / "ep", count=12)
    contract = sim_contract()
    data = json.loads(json.dumps(contract.to_dict()))
    data["observations"][0]["shape"] = [64, 64, 3]
    wrong = contract_from_dict(data)
    bag = read_bag(demo.folder)
    with pytest.raises(EpisodeError) as error:
        frames_from_bag(bag, wrong)
    (episode,) = inspect_bag(bag, wrong).episodes
    assert episode.fault == error.value.cause
    assert "(128, 128, 3)" in episode.fault


def test_half_a_character_does_not_break_the_file(tmp_path):
    text = render_page(Look(View("bag \ud800"), provenance=[("a", "\udfff")]))
    assert "bag \\ud800" in text
    text.encode("utf-8")


@pytest.mark.skipif(SHARED is None, reason="no ../shared/data beside the checkout")
def test_topic_that_does_not_decode_hides_no_other(tmp_path):
    page = page_of(SHARED / "bags" / "rosbag2_talker_sqlite3", tmp_path, status=1)
    assert any(t.startswith("/rosout is not drawn: topic /rosout: message 0") for t in page.prose)
    assert {row["name"] for row in page.data["timeline"]["rows"]} >= {"/rosout", "/topic"}


@pytest.mark.skipif(SHARED is None, reason="no ../shared/data beside the checkout")
@pytest.mark.parametrize(
    ("name", "cameras", "plot"),
    [
        ("ur3_move", 0, ("/joint_states", "position[ur3_joint_1]")),
        ("rerun_all_sensor_msgs", 1, None),
        ("ait_images", 1, None),
    ],
)
def test_real_recordings_without_contract(tmp_path, name, cameras, plot):
    page = page_of(SHARED / "bags" / name, tmp_path)
    (episode,) = page.data["episodes"]
    assert len([c for c in episode["cameras"] if c["jpegs"]]) >= cameras
    if plot:
        (group,) = [g for g in episode["groups"] if g["title"] == plot[0]]
        assert group["samples"] == 1052
        assert [p["name"] for p in group["plots"]][0].startswith("position[")
