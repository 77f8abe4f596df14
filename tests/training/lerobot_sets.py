"""Small data sets, ours and LeRobot's in the layout of v2.1, made without the code under test."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_policy.core.contract.contract import Contract, contract_from_dict, load_contract
from roboalign_training.data.content import CONTENT_VERSION, content_hash
from roboalign_training.data.index import DATA, DatasetIndex
from roboalign_training.data.table import write_episode
from roboalign_training.episodes.episodes import EpisodeFrames
from roboalign_training.episodes.recipe import Recipe

SHAPE = (48, 64, 3)
START_NS = 1_700_000_000_123_456_789
STATE, ACTION, TOP = "observation.state", "action", "observation.images.top"
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


def arm_contract(shape: tuple[int, int, int] = SHAPE, **changes) -> Contract:
    """The simulated arm with small images and a second camera."""
    data = load_contract("sim_panda").to_dict()
    front = {**data["observations"][0], "shape": list(shape)}
    wrist = {**front, "key": "image.wrist", "topic": "camera/wrist/image_raw"}
    data["observations"] = [front, wrist, *data["observations"][1:]]
    return contract_from_dict({**data, **changes})


def so101_contract(
    key: str, shape: tuple[int, int, int], rate_hz: float = 30.0, margin: float = 0.0
) -> Contract:
    """The packaged SO-101: another camera, shorter chunks, limits wider by `margin` rad.

    Its joints may jump: the made-up values of these data sets are random numbers.
    """
    data = load_contract("so101").to_dict()
    data["observations"][0] |= {"key": key, "shape": list(shape)}
    data["action"]["horizon"] = 8
    for dim in (*data["action"]["dims"], *data["observations"][1]["fields"]):
        dim["limits"] = [dim["limits"][0] - margin, dim["limits"][1] + margin]
        dim["max_rate"] = 1000.0
    return contract_from_dict({**data, "rate_hz": rate_hz})


def smooth_images(count: int, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Pictures with soft edges that move, so that one frame is told from the next."""
    height, width, _ = shape
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    images = np.empty((count, *shape), np.uint8)
    for at in range(count):
        for channel in range(3):
            phase = 0.4 * at + channel + seed
            wave = np.sin(5 * x + phase) + np.cos(4 * y - 0.7 * phase)
            images[at, ..., channel] = 127 + 60 * wave
    return images


def smooth_motion(count: int, width: int, seed: int) -> np.ndarray:
    """Joints that move as an arm can, (count, width) float32 rad; another motion each seed."""
    phase = 0.1 * np.arange(count)[:, None] + np.arange(width) + 2 * seed
    return (0.6 + 0.4 * np.sin(phase)).astype(np.float32)


def make_frames(contract: Contract, name: str, count: int, seed: int, holes=()) -> EpisodeFrames:
    """An episode of `contract`; grid positions `holes` are missing."""
    rng = np.random.default_rng(seed)
    indices = np.setdiff1d(np.arange(count + len(holes)), holes)
    values = {}
    for n, stream in enumerate(contract.images):
        values[stream.key] = smooth_images(count, stream.value_shape, 10 * seed + n)
    for stream in contract.states:
        values[stream.key] = rng.normal(size=(count, len(stream.fields))).astype(np.float32)
    low, high = contract.action.low, contract.action.high
    actions = rng.uniform(low, high, (count, len(low))).astype(np.float32)
    return EpisodeFrames(
        indices,
        START_NS + indices * contract.period_ns,
        values,
        actions,
        {"ee_pose: stale": len(holes)} if holes else {},
        episode_id=name,
        instruction=("put the red cube on the blue plate", "open the drawer")[seed % 2],
        outcome=("success", "unknown")[seed % 2],
    )


def make_dataset(
    folder: Path, contract: Contract | None = None, episodes: int = 3, frames: int = 14, holes=()
) -> DatasetIndex:
    """A data set of ours, without bags; the last episode has `holes`."""
    contract = contract or arm_contract()
    recipe = Recipe(min_frames=3).to_dict()
    index = DatasetIndex(folder, contract, recipe)
    for n in range(episodes):
        name = f"2025-{n}"
        made = make_frames(contract, name, frames + n, n, holes if n == episodes - 1 else ())
        entry = {
            "id": name,
            "file": f"{DATA}/episode-{name}.parquet",
            "frames": len(made),
            "instruction": made.instruction,
            "outcome": made.outcome,
            "source": f"../bags/{name}",
            "bag_sha256": f"{n:064d}",
            "content_sha256": content_hash(made),
            "content_hash": CONTENT_VERSION,
            "dropped": made.dropped,
            "trimmed": {},
        }
        footer = {**entry, "contract": contract.hash, "recipe": recipe}
        write_episode(folder / entry["file"], made, contract, footer)
        index.episodes[name] = entry
    index.save()
    return index


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """How alike two images are, dB."""
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def write_mp4(path: Path, images: np.ndarray, fps: int) -> None:
    """A video as LeRobot's recorder of v2.1 wrote it, with B-frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", fps, options={"crf": "18", "g": "12"})
        stream.height, stream.width, stream.pix_fmt = *images.shape[1:3], "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def make_v21(folder: Path, *, fps: int = 10, lengths=(12, 15, 9), chunk: int = 2) -> dict:
    """A LeRobot data set v2.1 of an SO-101 with one camera; returns what is in its episodes."""
    names = [f"{joint}.pos" for joint in JOINTS]
    vector = {"dtype": "float32", "shape": [6], "names": names}
    counter = {"shape": [1], "names": None}
    info = {
        "codebase_version": "v2.1",
        "robot_type": "so101",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 2,
        "total_videos": len(lengths),
        "total_chunks": -(-len(lengths) // chunk),
        "chunks_size": chunk,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/"
        "episode_{episode_index:06d}.mp4",
        "features": {
            "action": vector,
            "observation.state": vector,
            "observation.images.top": {
                "dtype": "video",
                "shape": list(SHAPE),
                "names": ["height", "width", "channels"],
                "info": {"video.fps": fps, "video.codec": "h264", "video.is_depth_map": False},
            },
            "timestamp": {"dtype": "float32", **counter},
            **{
                key: {"dtype": "int64", **counter}
                for key in ("frame_index", "episode_index", "index", "task_index")
            },
        },
    }
    (folder / "meta").mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info))
    tasks = ["pick up the cube", "close the drawer"]
    write_lines(
        folder / "meta/tasks.jsonl",
        [{"task_index": n, "task": text} for n, text in enumerate(tasks)],
    )
    episodes, made, start = [], {}, 0
    for number, count in enumerate(lengths):
        task = number % 2
        states = smooth_motion(count, 6, number)
        actions = states + np.float32(0.02)
        images = smooth_images(count, SHAPE, number)
        vectors = pa.list_(pa.float32(), 6)
        table = pa.table(
            {
                "action": pa.array(list(actions), vectors),
                "observation.state": pa.array(list(states), vectors),
                "timestamp": (np.arange(count) / fps).astype(np.float32),
                "frame_index": np.arange(count),
                "episode_index": np.full(count, number),
                "index": np.arange(start, start + count),
                "task_index": np.full(count, task),
            }
        )
        place = {"episode_chunk": number // chunk, "episode_index": number}
        path = folder / info["data_path"].format(**place)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        video = info["video_path"].format(video_key="observation.images.top", **place)
        write_mp4(folder / video, images, fps)
        episodes.append({"episode_index": number, "tasks": [tasks[task]], "length": count})
        made[number] = {
            "states": states,
            "actions": actions,
            "images": images,
            "task": tasks[task],
            "data": path,
            "video": folder / video,
        }
        start += count
    write_lines(folder / "meta/episodes.jsonl", episodes)
    return made


def write_lines(path: Path, rows: list[dict]) -> None:
    """A JSON lines file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_info(folder: Path, edit) -> None:
    """Changes `meta/info.json` by a function of its content."""
    path = folder / "meta/info.json"
    info = json.loads(path.read_text())
    edit(info)
    path.write_text(json.dumps(info))


def edit_rows(path: Path, **columns) -> None:
    """Replaces columns of a data file."""
    table = pq.ParquetFile(path).read()
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(
            at, table.schema.field(at), pa.array(values, table.schema.types[at])
        )
    pq.write_table(table, path)
