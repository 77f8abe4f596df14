"""From bag to data set: same frames as the reference, however images are stored and work split."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
from conversion_bags import SHAPE, Trouble, jpeg, two_cameras, write_bag
from demo_bags import STORE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_reference import live_frames
from PIL import Image
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import DatasetError
from roboalign_training.conversion.build import append_bag, build_dataset
from roboalign_training.conversion.memory import MemoryBudget, NoRoomError, parse_bytes
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.images.image_storage import decode_image, reads_alike

SMALL = 40_000  # bytes of a segment: a bag of 4 s has a dozen of them
ALL = Recipe(min_frames=1, max_gap_s=100.0)


def reference(path, contract):
    """All frames as the robot makes them."""
    return live_frames(read_bag(path), contract)


def assert_same_frames(data, frames, *, images=True):
    np.testing.assert_array_equal(data.frame_indices, frames.indices)
    np.testing.assert_array_equal(data.stamps_ns, frames.stamps_ns)
    np.testing.assert_array_equal(data.actions, frames.actions)
    for key, rows in data.states.items():
        np.testing.assert_array_equal(rows, frames.values[key])
    for row in range(len(data) if images else 0):
        for key in data.image_keys:
            np.testing.assert_array_equal(data.image(row, key), frames.values[key][row])


def content(folder: Path) -> dict[str, bytes]:
    """All files of a data set that are data."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(files)}


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**31),
    jitter_s=st.sampled_from([0.0, 0.06]),
    lost=st.sampled_from([0.0, 0.1]),
    late=st.sampled_from([0.0, 0.1, 0.5]),
    bad_heads=st.sampled_from([0.0, 0.05]),
    bad_pixels=st.sampled_from([0.0, 0.05, 0.5]),
    nan=st.sampled_from([0.0, 0.02]),
    segment=st.sampled_from([SMALL, 10**9]),
)
def test_frames_of_a_data_set_are_those_of_the_reference(tmp_path_factory, segment, **trouble):
    folder = tmp_path_factory.mktemp("set")
    trouble = {"seed": trouble.pop("seed"), "trouble": Trouble(**trouble)}
    path = write_bag(folder / "a.mcap", 2.0, **trouble)
    contract = two_cameras()
    frames = reference(path, contract)
    index = build_dataset(
        [path], contract, folder / "set", recipe=ALL, segment_bytes=segment, allow_empty=True
    )
    if not len(frames):
        assert not index.episodes
        return
    data = load_frames(folder / "set")
    assert_same_frames(data, frames)
    entry = index.episodes["a"]
    if not trouble["trouble"].bad_pixels:
        # Of frame times that are left out anyway nobody looks at the pixels.
        assert (entry["dropped"], entry["trimmed"]) == (frames.dropped, frames.trimmed)
    (sheet,) = index.balance.values()
    assert sheet["frames"]["kept"] == len(frames)
    assert not (folder / "set/.parts").exists()


def test_images_that_only_decoding_shows_to_be_damaged_make_no_frame(tmp_path):
    path = write_bag(tmp_path / "a.mcap", 4.0, trouble=Trouble(bad_pixels=0.2))
    contract = two_cameras()
    frames = reference(path, contract)
    index = build_dataset([path], contract, tmp_path / "set", recipe=ALL, segment_bytes=SMALL)
    assert_same_frames(load_frames(tmp_path / "set"), frames)
    assert index.episodes["a"]["dropped"]["image.wrist: unreadable"] > 3
    (sheet,) = index.balance.values()
    assert sheet["images"]["undecodable"] > 3
    topic = sheet["topics"]["/camera/wrist/image_raw/compressed"]
    assert topic["unreadable"] == sheet["images"]["undecodable"]


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Four seconds of both cameras."""
    trouble = Trouble(jitter_s=0.02, lost=0.02, bad_pixels=0.03)
    return write_bag(tmp_path_factory.mktemp("bag") / "a.mcap", 4.0, trouble=trouble)


@pytest.fixture(scope="module")
def sets(bag, tmp_path_factory):
    """A data set of `bag` for each choice of storage."""
    folder = tmp_path_factory.mktemp("sets")
    for choice in ("auto", "png", "jpeg", "video"):
        build_dataset(
            [bag], two_cameras(), folder / choice, recipe=replace(ALL, images=choice),
            segment_bytes=SMALL,
        )  # fmt: skip
    return folder


def psnr(one, other):
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))


@pytest.mark.parametrize("choice", ["auto", "png", "jpeg", "video"])
def test_every_storage_gives_the_frames_back(sets, bag, choice):
    frames, data = reference(bag, two_cameras()), load_frames(sets / choice)
    lossless = choice in ("auto", "png")
    assert_same_frames(data, frames, images=lossless)
    order = np.random.default_rng(0).permutation(len(data))
    for row in order:
        for key in data.image_keys:
            shown = data[int(row)].images[key]
            assert shown.shape == SHAPE
            assert shown.dtype == np.uint8
            assert psnr(shown, frames.values[key][row]) > (99 if lossless else 28)
            # The right frame, not one beside it.
            others = [r for r in (row - 1, row + 1) if 0 <= r < len(data)]
            here = psnr(shown, frames.values[key][row])
            assert all(here >= psnr(shown, frames.values[key][r]) for r in others)
            assert decode_image(data.encoded_image(int(row), key)).shape == SHAPE


def test_what_each_storage_stores(sets, bag):
    starts = {
        choice: {key: data.encoded_image(0, key)[:4] for key in data.image_keys}
        for choice in ("auto", "png", "jpeg")
        for data in (load_frames(sets / choice),)
    }
    png, jpg = b"\x89PNG", b"\xff\xd8\xff\xe0"
    assert starts["auto"] == {"image.front": png, "image.wrist": jpg}
    assert starts["png"] == {"image.front": png, "image.wrist": png}
    assert starts["jpeg"] == {"image.front": jpg, "image.wrist": jpg}
    videos = sorted(p.name for p in (sets / "video/videos").glob("*/*"))
    assert videos == ["image.front.mp4", "image.wrist.mp4"]
    # The camera's own bytes, not a JPEG made of its pixels.
    recorded = {bytes(m.data) for _, _, m in read_bag(bag).messages(
        ["/camera/wrist/image_raw/compressed"])}  # fmt: skip
    data = load_frames(sets / "auto")
    assert all(data.encoded_image(i, "image.wrist") in recorded for i in range(len(data)))


def test_content_hash_is_of_the_frames_and_of_a_lossy_storage(sets):
    hashes = {
        choice: load_frames(sets / choice).index.episodes["a"]["content_sha256"]
        for choice in ("auto", "png", "jpeg", "video")
    }
    assert hashes["auto"] == hashes["png"]
    assert len(set(hashes.values())) == 3


def test_images_of_several_frames_are_stored_once_in_a_video(sets, tmp_path):
    """At 60 frames a second most images are shown twice."""
    path = write_bag(tmp_path / "a.mcap", 1.0)
    contract = two_cameras(rate_hz=60.0)
    recipe = replace(ALL, images="video")
    index = build_dataset([path], contract, tmp_path / "set", recipe=recipe)
    (sheet,) = index.balance.values()
    assert sheet["images"]["used"] < sheet["images"]["in_frames"] * 0.6
    frames, data = reference(path, contract), load_frames(tmp_path / "set")
    for row in range(len(data)):
        assert psnr(data.image(row), frames.values["image.front"][row]) > 28


def test_a_video_is_read_in_a_forked_process_too(sets):
    """As the workers of a data loader do: files that the parent has open are not shared."""
    script = (
        "import os, sys, hashlib\n"
        "from roboalign_training.data.frame_dataset import load_frames\n"
        "data = load_frames(sys.argv[1])\n"
        "def seen(): return hashlib.sha256(b''.join(\n"
        "    data.image(i, k).tobytes() for k in data.image_keys for i in range(len(data)))"
        ").hexdigest()\n"
        "data.image(len(data) // 2)\n"
        "if os.fork() == 0:\n"
        "    print(seen(), flush=True); os._exit(0)\n"
        "os.wait(); print(seen())\n"
    )
    command = [sys.executable, "-c", script, str(sets / "video")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    one, other = done.stdout.split()
    assert one == other


def test_hugging_face_reads_the_camera_s_own_bytes_alike(sets, tmp_path):
    data = load_frames(sets / "auto")
    table = datasets.load_dataset(
        "parquet", data_files=str(sets / "auto/data/*.parquet"), split="train",
        cache_dir=str(tmp_path),
    )  # fmt: skip
    for row in (0, len(data) - 1):
        for key in data.image_keys:
            np.testing.assert_array_equal(np.asarray(table[row][key]), data.image(row, key))


def turned(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(image, exif=exif)


def grey(image):
    return jpeg(image[..., 0])


def png(image):
    import io

    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG")
    return sink.getvalue()


def palette(image):
    import io

    sink = io.BytesIO()
    Image.fromarray(image).quantize(16).save(sink, "PNG")
    return sink.getvalue()


@pytest.mark.parametrize(
    ("encode", "alike"),
    [(jpeg, True), (png, True), (turned, False), (grey, False), (palette, False)],
)
def test_only_bytes_that_every_reader_sees_alike_are_passed_through(tmp_path, encode, alike):
    path = write_bag(tmp_path / "a.mcap", 1.0, encode=encode)
    index = build_dataset([path], two_cameras(), tmp_path / "set", recipe=ALL)
    (sheet,) = index.balance.values()
    front, wrist = sheet["images"]["used"] // 2, sheet["images"]["used"] // 2
    passed = sheet["images"]["passed_through"]
    assert (abs(passed - wrist) <= 1) == alike
    assert (passed == 0) != alike
    assert sheet["images"]["encoded"] >= front - 1
    assert_same_frames(load_frames(tmp_path / "set"), reference(path, two_cameras()))


def test_sixteen_bits_and_transparency_are_not_alike():
    import io
    import struct
    import zlib

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(range(12)) for _ in range(2)))
    deep = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert Image.open(io.BytesIO(deep)).mode == "RGB"
    assert not reads_alike(deep)
    sink = io.BytesIO()
    Image.new("RGB", (2, 2)).save(sink, "PNG", transparency=(0, 0, 0))
    assert not reads_alike(sink.getvalue())


def placed(bag: Path, folder: Path) -> Path:
    """A copy of a bag in a folder, so that data sets beside it name it alike."""
    folder.mkdir(parents=True)
    return Path(shutil.copy2(bag, folder / "a.mcap"))


@pytest.mark.parametrize("choice", ["auto", "video"])
def test_same_data_with_any_number_of_processes(bag, tmp_path, choice):
    """Bit for bit, index and footers included."""
    for workers in (1, 2, 3):
        copy = placed(bag, tmp_path / str(workers))
        build(tmp_path / str(workers) / "set", [copy], workers, choice)
    one, two, three = (content(tmp_path / str(n) / "set") for n in (1, 2, 3))
    assert one.keys() == two.keys() == three.keys()
    assert one == two == three


def test_files_do_not_depend_on_how_work_is_cut(bag, tmp_path):
    found = []
    for segment in (SMALL, 10**9):
        copy = placed(bag, tmp_path / str(segment))
        build_dataset(
            [copy], two_cameras(), copy.parent / "set", recipe=ALL, segment_bytes=segment
        )
        found.append(content(copy.parent / "set"))
    assert found[0] == found[1]


def test_sqlite_gives_the_same_episode(bag, tmp_path):
    copy = tmp_path / "sqlite"
    source = read_bag(bag)
    with Writer(copy, version=9, storage_plugin=StoragePlugin.SQLITE3) as out:
        topics = {
            t.name: out.add_connection(t.name, t.type, typestore=STORE)
            for t in source.topics.values()
        }
        for name, ns, data in source.raw_messages():
            out.write(topics[name], ns, data)
    with Reader(copy) as check:
        assert check.message_count == source.message_count
    one = build_dataset([bag], two_cameras(), tmp_path / "one", recipe=ALL, segment_bytes=SMALL)
    other = build_dataset([copy], two_cameras(), tmp_path / "other", recipe=ALL,
                          segment_bytes=SMALL)  # fmt: skip
    assert [e["content_sha256"] for e in one.episodes.values()] == [
        e["content_sha256"] for e in other.episodes.values()
    ]


def test_another_storage_is_refused(sets, bag, tmp_path):
    out = tmp_path / "set"
    shutil.copytree(sets / "jpeg", out)
    for recipe, found in (
        (replace(ALL, images="png", quality=None), 'images: found "jpeg", now "png"'),
        (replace(ALL, images="jpeg", quality=80), "other rules: quality: found 95, now 80"),
    ):
        with pytest.raises(DatasetError, match="with another contract or other rules: ") as e:
            build_dataset([bag], None, out, recipe=recipe)
        assert found in str(e.value)
    for wrong in ({"images": "webp"}, {"images": "jpeg", "quality": 0}, {"quality": 95}):
        with pytest.raises(ValueError, match=r"images: found 'webp'|quality: found (0|95)"):
            Recipe(**wrong)


def test_a_video_takes_even_sizes(tmp_path):
    path = write_bag(tmp_path / "a.mcap", 1.0, shape=(47, 64, 3))
    with pytest.raises(
        DatasetError, match=r"image\.front: \(47, 64\) pixels, but videos take even"
    ):
        build_dataset([path], two_cameras((47, 64, 3)), tmp_path / "set",
                      recipe=Recipe(images="video"))  # fmt: skip


def test_a_missing_video_is_named(sets, tmp_path):
    out = tmp_path / "set"
    shutil.copytree(sets / "video", out)
    video = next((out / "videos").glob("*/image.wrist.mp4"))
    video.write_bytes(video.read_bytes()[:2000])
    data = load_frames(out)
    with pytest.raises(DatasetError, match=r"image\.wrist\.mp4: .*image \d+"):
        data.image(len(data) - 1, "image.wrist")
    video.unlink()
    with pytest.raises(DatasetError, match=r"image\.wrist\.mp4: is missing"):
        load_frames(out)


def test_a_new_recording_in_the_old_place_replaces_the_videos(tmp_path):
    recipe = replace(ALL, images="video")
    path = write_bag(tmp_path / "a.mcap", 1.0)
    build_dataset([path], two_cameras(), tmp_path / "set", recipe=recipe)
    before = list((tmp_path / "set/videos").iterdir())
    write_bag(path, 1.5, seed=3)
    build_dataset([path], two_cameras(), tmp_path / "set", recipe=recipe)
    after = list((tmp_path / "set/videos").iterdir())
    assert len(after) == 1
    assert after != before
    assert_same_frames(load_frames(tmp_path / "set"), reference(path, two_cameras()), images=False)


def test_data_sets_of_before_are_read_and_grow(sets, bag, tmp_path):
    """Their recipe says nothing of images, their entries nothing of the hash."""
    import pyarrow.parquet as pq

    out = tmp_path / "set"
    shutil.copytree(sets / "png", out)
    document = json.loads((out / "dataset.json").read_text())
    for key in ("images", "quality"):
        del document["recipe"][key]
    del document["balance"]
    for entry in document["episodes"]:
        del entry["content_hash"], entry["frame_times"]
    (out / "dataset.json").write_text(json.dumps(document))
    (file,) = (out / "data").iterdir()
    table = pq.read_table(file)
    footer = {**document["episodes"][0], "contract": document["hashes"]["contract"],
              "recipe": document["recipe"]}  # fmt: skip
    meta = {**(table.schema.metadata or {}), b"roboalign.episode": json.dumps(footer).encode()}
    pq.write_table(table.replace_schema_metadata(meta), file)
    assert len(load_frames(out)) > 20
    done = append_bag(write_bag(tmp_path / "b.mcap", 2.0, seed=5), out)
    assert len(done.entries) == 1
    assert len(load_frames(out).episodes) == 2


def test_memory_is_counted_before_a_bag_is_read(tmp_path, bag):
    with pytest.raises(ValueError, match="max_memory: found 100 MB, expected at least 400 MB"):
        build_dataset([bag], two_cameras(), tmp_path / "set", max_memory=100 * 10**6)
    budget = MemoryBudget(10**9, workers=16)
    assert 2 <= budget.processes < 16
    assert budget.share(10**6, "bag").processes == budget.processes
    assert budget.share(60 * 10**6, "bag").processes < budget.processes
    with pytest.raises(NoRoomError, match=r"takes 300 MB: give --max-memory at least \d+MB") as e:
        budget.share(300 * 10**6, "bag")
    least = int(str(e.value).rsplit(" ", 1)[1].removesuffix("MB"))
    assert MemoryBudget(least * 10**6, workers=16).share(300 * 10**6, "bag").processes == 1


@pytest.mark.parametrize(
    ("text", "size"), [("800MB", 800 * 10**6), ("1.5 GB", 15 * 10**8), ("5000", 5000)]
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "many", "1.5TB", "nan GB", "infMB"])
def test_sizes_that_are_none(text):
    with pytest.raises(ValueError, match="expected a size such as"):
        parse_bytes(text)


SCRIPT = """
import sys
from pathlib import Path
from dataclasses import replace
from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.conversion.build import build_dataset
from roboalign_training.episodes.recipe import Recipe
if __name__ == "__main__":
    out, contract, workers, choice, *bags = sys.argv[1:]
    recipe = Recipe(min_frames=1, max_gap_s=100.0, images=choice)
    build_dataset(bags, load_contract(contract), out, recipe=recipe, workers=int(workers),
                  segment_bytes=40_000)
"""


def build(out: Path, bags, workers: int, choice: str = "auto") -> None:
    """As `build_dataset`, in a process of its own, whose workers can be spawned."""
    out.parent.mkdir(parents=True, exist_ok=True)
    script = out.parent / "script.py"
    script.write_text(SCRIPT)
    contract = out.parent / "contract.yaml"
    contract.write_text(two_cameras().to_yaml())
    command = [sys.executable, script, out, contract, workers, choice, *bags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
