"""One episode as one Parquet file: columns, image encoding, content hash, entry in the footer."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value
from PIL import Image as PilImage

from roboalign_policy.core.contract import Contract
from roboalign_training.data.episodes import EpisodeFrames
from roboalign_training.data.errors import DatasetError

ENTRY_KEY = b"roboalign.episode"
"""Footer key of the episode's entry (JSON): `dataset.json` can be rebuilt from the files alone."""


def features(contract: Contract) -> Features:
    """Columns of a data set recorded with `contract`, as `datasets.Features`."""
    columns = {
        "episode_id": Value("string"),
        "frame_index": Value("int32"),
        "stamp_ns": Value("int64"),
        "instruction": Value("string"),
        "outcome": Value("string"),
    }
    for observation in contract.observations:
        image = observation.key.startswith("image.")
        columns[observation.key] = Image() if image else List(Value("float32"))
    columns["action"] = List(Value("float32"))
    return Features(columns)


def encode_png(image: np.ndarray) -> bytes:
    """Encodes an image losslessly.

    Compression level 1: fast, and a simulated frame is only a little larger than at the default.

    Args:
        image: (H, W, 3) uint8, RGB.
    """
    sink = io.BytesIO()
    PilImage.fromarray(image).save(sink, "PNG", compress_level=1)
    return sink.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """Decodes an encoded image to (H, W, 3) uint8, RGB."""
    with PilImage.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def content_hash(frames: EpisodeFrames) -> str:
    """SHA-256 (hex) over everything a model can see of an episode, before any encoding.

    The file's own bytes depend on the versions of Parquet and zlib; this does not.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([frames.instruction, frames.outcome]).encode())
    for name, array in (
        ("index", frames.indices.astype("<i4")),
        ("stamp", frames.stamps_ns.astype("<i8")),
        *((key, frames.values[key]) for key in sorted(frames.values)),
        ("action", frames.actions.astype("<f4")),
    ):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        for row in array:  # images may come one at a time
            digest.update(np.ascontiguousarray(row))
    return digest.hexdigest()


def write_episode(path: Path, frames: EpisodeFrames, contract: Contract, entry: dict) -> None:
    """Writes an episode; the file appears complete or not at all.

    Args:
        path: The Parquet file to write.
        frames: The episode.
        contract: The contract the frames were made with.
        entry: JSON-able facts about the episode, kept in the file's footer.
    """
    count = len(frames.stamps_ns)
    columns: dict[str, list | np.ndarray] = {
        "episode_id": [frames.episode_id] * count,
        "frame_index": frames.indices.astype(np.int32),
        "stamp_ns": frames.stamps_ns,
        "instruction": [frames.instruction] * count,
        "outcome": [frames.outcome] * count,
        "action": list(frames.actions),
    }
    for observation in contract.observations:
        values = frames.values[observation.key]
        if observation.key.startswith("image."):
            columns[observation.key] = [{"bytes": encode_png(v), "path": None} for v in values]
        else:
            columns[observation.key] = list(values)
    schema = features(contract).arrow_schema
    schema = schema.with_metadata({**schema.metadata, ENTRY_KEY: json.dumps(entry).encode()})
    table = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pq.write_table(table, part, compression="zstd")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_entry(path: Path) -> dict:
    """The episode's entry from the footer of its file.

    Raises:
        DatasetError: When the file is no Parquet file or was not written by `write_episode`.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        return json.loads(metadata[ENTRY_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DatasetError(path, f"is no episode of a data set: {error!r}") from error
