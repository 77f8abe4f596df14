"""How a LeRobot data set v3.0 lies on disk, and how a contract is spelt in it.

Source: huggingface/lerobot, src/lerobot/datasets (utils.py, feature_utils.py), 0.4 to 0.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roboalign_policy.core.contract.contract import Contract, Stream
from roboalign_policy.core.keys import IMAGE_PREFIX, STATE_PREFIX

if TYPE_CHECKING:
    from datasets import Features

VERSION, VERSION_21 = "v3.0", "v2.1"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
TASKS_21, EPISODES_21 = "meta/tasks.jsonl", "meta/episodes.jsonl"
FILES_PER_CHUNK, DATA_FILE_MB, VIDEO_FILE_MB = 1000, 100, 200

# What an export carries beside LeRobot's own files, which LeRobot leaves alone.
SCHEMA = "roboalign-lerobot/1"
CONTRACT, PASSPORT = "meta/contract.yaml", "meta/roboalign.json"
FRAMES = "meta/roboalign_frames.parquet"

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every LeRobot data set has, with their types."""

PNG = "png"
"""Images as columns of the data files, bit for bit; else a codec of `video`."""


def image_feature(key: str) -> str:
    """LeRobot's name of an image stream: `observation.images.front` of `image.front`."""
    return IMAGES + key.removeprefix(IMAGE_PREFIX)


def dimension_name(stream: Stream, name: str) -> str:
    """A state's dimension where several streams share one vector: `ee.x`."""
    return f"{stream.key.removeprefix(STATE_PREFIX)}.{name}"


def state_names(contract: Contract) -> list[str]:
    """Names of the dimensions of `observation.state`: all state streams, one after the other."""
    if len(contract.states) == 1:
        return list(contract.states[0].names)
    return [dimension_name(s, name) for s in contract.states for name in s.names]


def info_features(contract: Contract, images: str, video_info: dict) -> dict[str, dict]:
    """The `features` of `info.json`.

    Args:
        contract: The robot.
        images: `png` or the name of a codec.
        video_info: What is said of every video, see `video.Codec.info`.
    """
    features: dict[str, dict] = {}
    for stream in contract.images:
        height, width, _ = stream.value_shape
        about = {} if images == PNG else {"video.height": height, "video.width": width}
        features[image_feature(stream.key)] = {
            "dtype": "image" if images == PNG else "video",
            "shape": list(stream.value_shape),
            "names": ["height", "width", "channels"],
            "info": {**about, **video_info, "is_depth_map": False},
        }
    for feature, names in vectors(contract).items():
        features[feature] = {"dtype": "float32", "shape": [len(names)], "names": names}
    for name, dtype in COUNTERS.items():
        features[name] = {"dtype": dtype, "shape": [1], "names": None}
    return features


def vectors(contract: Contract) -> dict[str, list[str]]:
    """The vectors of an export and the names of their dimensions."""
    states = {STATE: state_names(contract)} if contract.states else {}
    return {**states, ACTION: list(contract.action.names)}


def columns(contract: Contract, images: str) -> Features:
    """Columns of the data files; a vector of one dimension is a number there."""
    from datasets import Features, Image, List, Value  # not above: loading it takes half a second

    found: dict[str, object] = {}
    if images == PNG:
        found = {image_feature(stream.key): Image() for stream in contract.images}
    for feature, names in vectors(contract).items():
        one = Value("float32")
        found[feature] = one if len(names) == 1 else List(one, length=len(names))
    return Features({**found, **{name: Value(dtype) for name, dtype in COUNTERS.items()}})
