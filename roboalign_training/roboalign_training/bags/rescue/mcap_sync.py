"""Finds records in a damaged MCAP file: whether one stands at a place, and where the next one is.

A record counts when it is consistent in itself and something consistent follows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from roboalign_training.bags import mcap_records as mcap
from roboalign_training.bags.mcap_content import content
from roboalign_training.bags.mcap_records import FileBytes, McapChunk, McapRecordError

# An opcode that is not the header's, and a length below 2^40.
_CANDIDATE = re.compile(rb"[\x02-\x0f](?=[\s\S]{5}\x00\x00\x00)")
_LENGTHS = {mcap.FOOTER: 20, mcap.SUMMARY_OFFSET: 17, mcap.DATA_END: 4}
PARSERS = {
    mcap.SCHEMA: mcap.parse_schema,
    mcap.CHANNEL: mcap.parse_channel,
    mcap.METADATA: mcap.parse_metadata,
    mcap.STATISTICS: mcap.parse_statistics,
    mcap.CHUNK_INDEX: mcap.parse_chunk_index,
}
# Kinds whose length nothing within them confirms.
UNSURE = (mcap.HEADER, mcap.MESSAGE, mcap.ATTACHMENT, mcap.ATTACHMENT_INDEX, mcap.METADATA_INDEX)
_PRIVATE = 0x80  # from this opcode on records are an application's own
_BLOCK_BYTES = 1 << 20


def cut_chunk(data: FileBytes, at: int) -> McapChunk | None:
    """The chunk at a place that the end of the file cuts off; None for anything else."""
    head = data.peek(at, mcap.HEAD_BYTES)
    if len(head) < mcap.PREFIX.size:
        return None
    opcode, length = mcap.PREFIX.unpack_from(head)
    try:
        chunk = mcap.parse_chunk(head, at, length) if opcode == mcap.CHUNK else None
    except McapRecordError:
        return None
    return chunk if chunk and chunk.data_at < data.size < chunk.end else None


def is_checked_chunk(data: FileBytes, opcode: int, at: int, end: int) -> bool:
    """Whether there is a chunk whose CRC vouches for it, whatever follows."""
    if opcode != mcap.CHUNK:
        return False
    chunk = mcap.parse_chunk(data.peek(at, mcap.HEAD_BYTES), at, end - at - mcap.PREFIX.size)
    return bool(chunk.crc) and len(content(data, chunk)) == chunk.size


def goes_on(data: FileBytes, at: int) -> bool:
    """Whether at a place the file ends, or a record begins, be it cut off by the file's end."""
    head = data.peek(at, mcap.PREFIX.size)
    if len(head) < mcap.PREFIX.size:  # the end, the closing magic or a part of a record
        return True
    try:
        check(data, at)
    except McapRecordError:
        opcode, length = mcap.PREFIX.unpack(head)
        cut_off = length < 1 << 32 and at + length + mcap.PREFIX.size > data.size
        return mcap.HEADER < opcode <= mcap.DATA_END and cut_off
    return True


def check(data: FileBytes, at: int) -> tuple[int, int]:
    """Opcode and end of the record at a place.

    Raises:
        McapRecordError: When what stands there is not consistent in itself.
    """
    head = data.peek(at, mcap.HEAD_BYTES)
    if len(head) < mcap.PREFIX.size:
        raise McapRecordError("the file ends within a record")
    opcode, length = mcap.PREFIX.unpack_from(head)
    end = at + mcap.PREFIX.size + length
    if end > data.size:
        raise McapRecordError(f"a record of {length} bytes, {data.size - at} are left")
    if opcode == mcap.CHUNK:
        mcap.parse_chunk(head, at, length)
    elif opcode == mcap.MESSAGE_INDEX:
        good = length >= mcap.INDEX_HEAD.size
        size = mcap.INDEX_HEAD.unpack_from(head, mcap.PREFIX.size)[1] if good else -1
        if size != length - mcap.INDEX_HEAD.size or size % 16:
            raise McapRecordError("a message index of a wrong length")
    elif opcode in PARSERS:
        if length > mcap.RECORD_LIMIT:
            raise McapRecordError(f"a definition of {length} bytes")
        PARSERS[opcode](data.read(at + mcap.PREFIX.size, length))
    elif opcode in _LENGTHS:
        if length != _LENGTHS[opcode]:
            raise McapRecordError(f"opcode {opcode} with {length} bytes")
    elif opcode == mcap.MESSAGE:
        if length < mcap.MESSAGE_FIELDS:
            raise McapRecordError(f"a message of {length} bytes")
    elif opcode not in (mcap.HEADER, mcap.ATTACHMENT, mcap.ATTACHMENT_INDEX, mcap.METADATA_INDEX):
        if opcode < _PRIVATE or end + mcap.PREFIX.size > data.size:
            raise McapRecordError(f"opcode {opcode}, which is none")
        following = mcap.PREFIX.unpack_from(data.peek(end, mcap.PREFIX.size))[0]
        if not mcap.HEADER < following <= mcap.DATA_END:
            raise McapRecordError(f"opcode {opcode}, and nothing that follows it")
    return opcode, end


def next_record(data: FileBytes, at: int, checked: bool, on_bytes: Callable[[int], None]) -> int:
    """The next place with a record that another one follows; the file's size where there is none.

    Args:
        data: The file.
        at: Where to begin.
        checked: Pass over messages: they belong to a chunk whose CRC says nothing of them alone.
        on_bytes: Told how far it is.
    """
    while at < data.size:
        on_bytes(at)
        try:
            block = data.read(at, min(_BLOCK_BYTES, data.size - at))
        except McapRecordError:  # a bad sector
            at += _BLOCK_BYTES
            continue
        for match in _CANDIDATE.finditer(block):
            place = at + match.start()
            try:
                opcode, end = check(data, place)
                if opcode == mcap.MESSAGE and checked:
                    continue
                if goes_on(data, end) or is_checked_chunk(data, opcode, place, end):
                    return place
            except McapRecordError:
                continue
        at += max(len(block) - 8, 1)
    return data.size


def has_checked_chunk(data: FileBytes) -> bool:
    """Whether a chunk with a CRC that fits comes first, and no message outside of chunks."""
    at, adrift = len(mcap.MAGIC), False
    while at < data.size:
        try:
            opcode, end = check(data, at)
            if opcode == mcap.MESSAGE and not adrift:
                return False
            if is_checked_chunk(data, opcode, at, end):
                return True
            at = end
        except McapRecordError:
            at, adrift = next_record(data, at + 1, False, lambda _: None), True
    return False


def checked_summary(data: FileBytes) -> int:
    """Where a summary begins that its CRC vouches for; the file's size where there is none."""
    footer_at = data.size - len(mcap.MAGIC) - mcap.FOOTER_BYTES
    if footer_at < len(mcap.MAGIC):
        return data.size
    footer = data.read(footer_at, mcap.FOOTER_BYTES)
    start, _, crc = mcap.parse_footer(footer[mcap.PREFIX.size :])
    fits = footer[: mcap.PREFIX.size] == mcap.PREFIX.pack(mcap.FOOTER, 20) and crc != 0
    if fits and 0 < start <= footer_at:
        fits = data.crc(start, footer_at + mcap.FOOTER_BYTES - 4) == crc
        return start if fits else data.size
    return data.size
