"""What one episode gives to an export: videos or pictures, numbers, statistics; whole or not."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import av
import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_policy.core.hashing import sha256_json
from roboalign_training.conversion.allocation import zeroed_memory
from roboalign_training.conversion.parts import TEMPORARY, PartFile, PartWriter, read_part
from roboalign_training.data.index import DatasetIndex
from roboalign_training.episodes.episodes import EpisodeFrames
from roboalign_training.images.image_storage import VIDEO
from roboalign_training.images.png import encoder_version
from roboalign_training.images.video import CODECS, VideoWriter
from roboalign_training.lerobot.files import checksum
from roboalign_training.lerobot.layout import ACTION, PNG, STATE, image_feature
from roboalign_training.lerobot.ours import OwnEpisode
from roboalign_training.lerobot.passport import values_hash
from roboalign_training.lerobot.stats import ImageStats, sampled_frames, vector_stats
from roboalign_training.shared.version import tool_version

PICTURES = "pictures.parquet"
PICTURES_AT_ONCE = 128  # rows of a row group with images
_FORMAT = 1  # of parts; another one makes old ones useless
_FACTS = "facts"


def video_name(key: str) -> str:
    """The file of a part that holds the video of an image stream."""
    return f"{key}.mp4"


def made_with(index: DatasetIndex, storage: dict) -> dict:
    """What all parts of an export depend on beside the episode; plain data."""
    return {
        "format": _FORMAT,
        "tool": tool_version(),
        "contract": index.contract.hash,
        "images": [index.recipe.get("images"), index.recipe.get("quality")],
        "storage": storage,
        "versions": {
            "av": av.__version__,
            "ffmpeg": av.library_versions,
            "numpy": np.__version__,
            "png": encoder_version(),
            "pillow": PIL.__version__,
            "pyarrow": pa.__version__,
        },
    }


class EpisodePart:
    """The part of one episode: a folder, named after what it is made with.

    The facts in it are arrays - the vectors by feature, (N, D) float32; `frame_index` and
    `stamp_ns`, (N,) int64; `stats/<feature>/<statistic>` - and `values_sha256`, `holes` (frames
    that are missing inside), `media`: checksums of the files beside it.
    """

    def __init__(self, parts: Path, index: DatasetIndex, name: str, storage: dict) -> None:
        """Of the episode `name`, below the folder `parts`."""
        self._index, self._name, self._storage = index, name, storage
        self._made_with = {**made_with(index, storage), "entry": index.episodes[name]}
        self.path = parts / sha256_json(self._made_with)

    def facts(self) -> PartFile | None:
        """The facts; None where there is no such part, or it is damaged."""
        return read_part(self.path / _FACTS, self._made_with, check=True)

    def is_whole(self, media: Collection[str]) -> bool:
        """Whether the facts are there, and these files of it."""
        part = self.facts()
        return part is not None and all(
            part.facts["media"].get(name) == checksum(self.path / name) for name in media
        )

    def drop(self, media: str) -> None:
        """Removes a file that is not needed any more."""
        (self.path / media).unlink(missing_ok=True)

    def make(self, on_frame: Callable[[int], None]) -> None:
        """Makes the part, in place of one that is not whole.

        Args:
            on_frame: Called with 1 for every image of every frame.

        Raises:
            DatasetError: When the episode cannot be read.
        """
        writing = self.path.with_name(f".{self.path.name}{TEMPORARY}")
        for left in (writing, self.path):
            shutil.rmtree(left, ignore_errors=True)
        writing.mkdir(parents=True)
        episode, contract = OwnEpisode(self._index, self._name), self._index.contract
        states = [episode.states[stream.key] for stream in contract.states]
        vectors = {STATE: np.concatenate(states, axis=1)} if states else {}
        vectors[ACTION] = episode.actions
        stats = {feature: vector_stats(values) for feature, values in vectors.items()}
        for stream in contract.images:
            made = self._images(episode, stream.key, stream.value_shape, writing, on_frame)
            stats[image_feature(stream.key)] = made.result()
        if keeps_pictures(self._index, self._storage):
            _write_pictures(episode, writing / PICTURES)
        arrays = {"frame_index": episode.frame_indices, "stamp_ns": episode.stamps_ns, **vectors}
        for feature, found in stats.items():
            arrays |= {f"stats/{feature}/{key}": value for key, value in found.items()}
        facts = {
            "media": {path.name: checksum(path) for path in sorted(writing.iterdir())},
            "values_sha256": self._values_hash(episode),
            "holes": int(np.sum(np.diff(episode.frame_indices) - 1)),
        }
        with PartWriter(writing / _FACTS, self._made_with) as part:
            part.finish(arrays, facts)
        os.replace(writing, self.path)

    def _images(
        self,
        episode: OwnEpisode,
        key: str,
        shape: tuple[int, ...],
        folder: Path,
        on_frame: Callable[[int], None],
    ) -> ImageStats:
        """Goes through the images of a stream; writes its video, if there is to be one."""
        count, stats, codec = len(episode), ImageStats(), self._storage["storage"]
        sampled = set(sampled_frames(count))
        with contextlib.ExitStack() as stack:
            video, wanted = None, sampled
            if codec != PNG:
                stack.enter_context(zeroed_memory())
                video = VideoWriter(
                    folder / video_name(key),
                    int(self._index.contract.rate_hz),
                    shape,
                    CODECS[codec],
                    self._storage["crf"],
                )
                stack.callback(video.close)
                wanted = range(count)
            for at, image in enumerate(episode.images(key, wanted)):
                if video is not None:
                    video.add(image)
                if at in sampled:
                    stats.add(image)
                on_frame(1)
        return stats

    def _values_hash(self, episode: OwnEpisode) -> str:
        entry = self._index.episodes[self._name]
        frames = EpisodeFrames(
            episode.frame_indices,
            episode.stamps_ns,
            episode.states,
            episode.actions,
            instruction=entry["instruction"],
            outcome=entry["outcome"],
        )
        return values_hash(frames, self._index.contract, entry.get("content_hash"))


def keeps_pictures(index: DatasetIndex, storage: dict) -> bool:
    """Whether parts hold pictures: where they have to be made, because the data set has videos.

    Pictures that the data set stores as such are taken from there.
    """
    return storage["storage"] == PNG and index.recipe.get("images") == VIDEO


def _write_pictures(episode: OwnEpisode, path: Path) -> None:
    """Writes the pictures of an episode as Parquet, some rows in a row group."""
    writer = None
    with contextlib.ExitStack() as stack:
        for batch in episode.pictures(PICTURES_AT_ONCE):
            if writer is None:
                writer = stack.enter_context(
                    pq.ParquetWriter(path, batch.schema, compression="none")
                )
            writer.write_table(pa.Table.from_batches([batch]), row_group_size=len(batch))
