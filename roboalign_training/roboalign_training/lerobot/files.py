"""Files of limited size that episodes go into one after the other, numbered as LeRobot does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.conversion.parts import TEMPORARY, PartWriter, crc_of, read_part
from roboalign_training.lerobot.layout import FILES_PER_CHUNK


def checksum(path: Path) -> list[int]:
    """Bytes of a file, and their CRC-32; of a file that is not there [-1, -1]."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            return [size, crc_of(stream, size)]
    except FileNotFoundError:
        return [-1, -1]


def chunk_and_file(number: int) -> tuple[int, int]:
    """Where the file `number` of a kind is: its chunk, and its number in there."""
    return divmod(number, FILES_PER_CHUNK)


def is_full(size: int, rows: int, more: int, limit_mb: float) -> bool:
    """Whether `more` rows would take a file to its limit, which has `size` bytes and `rows`."""
    return rows > 0 and size * (1 + more / rows) >= limit_mb * 2**20


class FileSeries:
    """Files of one kind, each made of whole episodes, which an interrupted export keeps.

    A file appears when it is complete, and then a note that says which episodes are in it. What
    has no note, or is not what its note says, is made anew with all files after it.

    Attributes:
        ranges: The episodes (by number) in each file that is complete.
    """

    def __init__(self, tree: Path, notes: Path, pattern: str, made_with: dict) -> None:
        """Finds the files that are complete, and removes what else there is of the kind.

        Args:
            tree: The folder of the data set.
            notes: The folder of the notes; of this kind alone.
            pattern: Path of a file below `tree`, with `chunk_index` and `file_index`.
            made_with: What the files are made with; plain data.
        """
        self._tree, self._notes, self._pattern = tree, notes, pattern
        self._made_with = made_with
        self.ranges: list[range] = []
        notes.mkdir(parents=True, exist_ok=True)
        while (found := self._complete()) is not None:
            self.ranges.append(found)
        for note in notes.iterdir():
            if note.name.endswith(TEMPORARY):
                note.unlink()
            elif int(note.name) >= len(self.ranges):
                self._path(int(note.name)).unlink(missing_ok=True)
                note.unlink()

    @property
    def stop(self) -> int:
        """The first episode that is in no file yet."""
        return self.ranges[-1].stop if self.ranges else 0

    def add(self, write: Callable[[Path, int], int]) -> range:
        """Makes the next file.

        Args:
            write: Gets a path and the number of an episode; writes a file of this and the
                following ones, and returns the number of the first that is not in it.

        Returns:
            The episodes in the file.
        """
        number, start = len(self.ranges), self.stop
        part = self._notes / f".{number}{TEMPORARY}"
        held = range(start, write(part, start))
        size, crc = checksum(part)
        self._path(number).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, self._path(number))
        with PartWriter(self._notes / str(number), self._identity(number)) as note:
            note.finish({}, {"stop": held.stop, "size": size, "crc": crc})
        self.ranges.append(held)
        return held

    def places(self) -> list[tuple[int, int]]:
        """Chunk and file of every episode."""
        return [chunk_and_file(n) for n, held in enumerate(self.ranges) for _ in held]

    def _path(self, number: int) -> Path:
        chunk, file = chunk_and_file(number)
        return self._tree / self._pattern.format(chunk_index=chunk, file_index=file)

    def _identity(self, number: int) -> dict:
        """What the next file, number `number`, is made with."""
        return {**self._made_with, "number": number, "start": self.stop}

    def _complete(self) -> range | None:
        """The episodes of the next file, if it is complete."""
        number = len(self.ranges)
        note = read_part(self._notes / str(number), self._identity(number), check=True)
        if note is None:
            return None
        if checksum(self._path(number)) != [note.facts["size"], note.facts["crc"]]:
            return None
        return range(self.stop, note.facts["stop"])


class ParquetFiles:
    """Parquet files of one kind; what is written in one call is one row group."""

    def __init__(self, root: Path, pattern: str, limit_mb: float) -> None:
        """Files `pattern` below `root`, each of about `limit_mb` at most."""
        self._root, self._pattern, self._limit_mb = root, pattern, limit_mb
        self._number = self._rows = 0
        self._sink = self._writer = None

    def place(self, rows: int) -> tuple[int, int]:
        """Chunk and file that the next `rows` rows go into; ends the present file if need be."""
        if self._sink is not None and is_full(self._sink.tell(), self._rows, rows, self._limit_mb):
            self.close()
            self._number += 1
            self._rows = 0
        return chunk_and_file(self._number)

    def write(self, table: pa.Table) -> None:
        """Writes rows into the file that `place` told."""
        if self._writer is None:
            chunk, file = chunk_and_file(self._number)
            path = self._root / self._pattern.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = path.open("wb")
            self._writer = pq.ParquetWriter(self._sink, table.schema, compression="snappy")
        self._writer.write_table(table, row_group_size=len(table))
        self._rows += len(table)

    def close(self) -> None:
        """Completes the present file."""
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
            self._sink = self._writer = None
