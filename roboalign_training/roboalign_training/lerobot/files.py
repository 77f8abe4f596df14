"""Files of limited size that episodes go into one after the other, numbered as LeRobot does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.lerobot.layout import FILES_PER_CHUNK


@dataclass
class Place:
    """The file that is written now.

    Attributes:
        chunk, file: Its numbers.
        rows: Rows or frames in it.
    """

    chunk: int = 0
    file: int = 0
    rows: int = 0

    def full(self, size: int, rows: int, limit_mb: float) -> bool:
        """Whether `rows` more would take the file to its limit, by its size in bytes so far."""
        return self.rows > 0 and size * (1 + rows / self.rows) >= limit_mb * 2**20

    def next(self) -> Place:
        """The file after this one."""
        last = self.file == FILES_PER_CHUNK - 1
        return Place(self.chunk + 1, 0) if last else Place(self.chunk, self.file + 1)


class ParquetFiles:
    """Parquet files of one kind; what is written in one call is one row group."""

    def __init__(self, root: Path, pattern: str, limit_mb: float) -> None:
        """Files `pattern` below `root`, each of about `limit_mb` at most."""
        self._root, self._pattern, self._limit_mb = root, pattern, limit_mb
        self._place = Place()
        self._sink = self._writer = None

    def place(self, rows: int) -> tuple[int, int]:
        """Chunk and file that the next `rows` rows go into; ends the present file if need be."""
        if self._sink is not None and self._place.full(self._sink.tell(), rows, self._limit_mb):
            self.close()
            self._place = self._place.next()
        return self._place.chunk, self._place.file

    def write(self, table: pa.Table) -> None:
        """Writes rows into the file that `place` told."""
        if self._writer is None:
            chunk, file = self._place.chunk, self._place.file
            path = self._root / self._pattern.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = path.open("wb")
            self._writer = pq.ParquetWriter(self._sink, table.schema, compression="snappy")
        self._writer.write_table(table, row_group_size=len(table))
        self._place.rows += len(table)

    def close(self) -> None:
        """Completes the present file."""
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
            self._sink = self._writer = None
