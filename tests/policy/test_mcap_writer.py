"""The MCAP writer: what others read is what was written, also of a file that was cut short."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, make_reader
from mcap.records import Chunk
from mcap.stream_reader import StreamReader

from roboalign_policy.ros.recording.mcap_writer import McapWriter

TOPICS = {"/image": "none", "/depth": "lz4", "/joints": "zstd", "/task": "zstd"}


def written(messages, chunk_bytes=1000, finish=True):
    """File with messages (topic index, log time, payload)."""
    stream = io.BytesIO()
    writer = McapWriter(stream, chunk_bytes)
    schema = writer.add_schema("pkg/msg/Thing", "ros2msg", b"uint8[] data")
    channels = [writer.add_channel(t, schema, {"a": "b"}, c) for t, c in TOPICS.items()]
    for number, (index, log_ns, data) in enumerate(messages):
        writer.add_message(channels[index], log_ns, log_ns + 7, data, number)
    if finish:
        writer.add_metadata("rosbag2", {"serialized_metadata": "text"})
        writer.finish()
    return stream.getvalue(), writer


MESSAGES = st.lists(
    st.tuples(
        st.integers(0, len(TOPICS) - 1),
        st.integers(0, 10**18),
        st.binary(min_size=0, max_size=700),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(MESSAGES)
def test_every_message_is_read_back_by_index_and_in_sequence(messages):
    data, _ = written(messages)
    expected = sorted(
        (log_ns, number, list(TOPICS)[index], log_ns + 7, payload)
        for number, (index, log_ns, payload) in enumerate(messages)
    )
    for reader in (
        make_reader(io.BytesIO(data), validate_crcs=True),
        NonSeekingReader(io.BytesIO(data), validate_crcs=True),
    ):
        found = sorted(
            (m.log_time, m.sequence, c.topic, m.publish_time, m.data)
            for _, c, m in reader.iter_messages()
        )
        assert found == expected


def test_what_does_not_get_smaller_is_stored_as_it_is_and_tried_again():
    noise = np.random.default_rng(0).bytes(1200)
    data, _ = written([(1, 0, noise)] * 3 + [(1, 0, bytes(1200))] * 40)
    index = make_reader(io.BytesIO(data)).get_summary().chunk_indexes
    found = [chunk.compression for chunk in index]
    assert found == [""] * 16 + ["lz4"] * 27
    assert sum(chunk.compressed_size for chunk in index[16:]) < 27 * 200


def test_the_summary_counts_what_there_is():
    rng = np.random.default_rng(0)
    messages = [(int(i), int(t), bytes(300)) for i, t in rng.integers(0, 4, (200, 2))]
    data, _ = written(messages)
    summary = make_reader(io.BytesIO(data)).get_summary()
    statistics = summary.statistics
    counts = np.bincount([i for i, _, _ in messages], minlength=4)
    assert statistics.message_count == 200 and statistics.channel_count == len(TOPICS)
    assert [statistics.channel_message_counts[i + 1] for i in range(4)] == counts.tolist()
    assert statistics.chunk_count == len(summary.chunk_indexes) > 4
    assert {c.compression for c in summary.chunk_indexes} == {"", "lz4", "zstd"}
    times = [t for _, t, _ in messages]
    assert (statistics.message_start_time, statistics.message_end_time) == (min(times), max(times))
    (metadata,) = make_reader(io.BytesIO(data)).iter_metadata()
    assert metadata.metadata == {"serialized_metadata": "text"}


def test_a_file_cut_anywhere_holds_every_chunk_that_was_finished():
    messages = [(i % 4, 1000 * i, bytes([i % 251]) * 400) for i in range(100)]
    data, writer = written(messages, finish=False)
    for cut in (len(data), len(data) - 1, len(data) // 2, 300):
        whole = []
        with contextlib.suppress(EndOfFile, struct.error):  # in the middle of a record
            for record in StreamReader(io.BytesIO(data[:cut]), emit_chunks=True).records:
                if isinstance(record, Chunk):
                    whole.append(record)
        assert len(whole) >= (3 if cut > 10_000 else 0)
    assert 0 < writer.open_bytes < 4 * (1000 + 431)


def test_flush_leaves_nothing_open():
    stream = io.BytesIO()
    writer = McapWriter(stream, 1 << 20)
    schema = writer.add_schema("pkg/msg/Thing", "ros2msg", b"")
    for compression in ("none", "zstd"):
        channel = writer.add_channel(f"/{compression}", schema, {}, compression)
        writer.add_message(channel, 1, 1, b"abc", 0)
    assert writer.open_bytes
    writer.flush()
    assert not writer.open_bytes
    found = []
    with contextlib.suppress(EndOfFile):  # there is no end of the file yet
        for record in StreamReader(io.BytesIO(stream.getvalue())).records:
            found += [record.data] if hasattr(record, "log_time") else []
    assert found == [b"abc", b"abc"]


def test_an_empty_file_is_a_file():
    data, _ = written([])
    assert list(make_reader(io.BytesIO(data), validate_crcs=True).iter_messages()) == []


def test_an_unknown_compression_is_refused():
    with pytest.raises(ValueError, match="found 'gzip', expected one of none, lz4, zstd"):
        McapWriter(io.BytesIO(), 10).add_channel("/t", 1, {}, "gzip")


def test_large_messages_are_not_copied(tmp_path):
    image = bytes(8_000_000)
    with (tmp_path / "f.mcap").open("wb") as stream:
        writer = McapWriter(stream, 1 << 20)
        channel = writer.add_channel(
            "/i", writer.add_schema("a/msg/B", "ros2msg", b""), {}, "none"
        )
        tracemalloc.start()
        for number in range(5):
            writer.add_message(channel, number, number, image, number)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        writer.finish()
    assert peak < 1_000_000
    assert (tmp_path / "f.mcap").stat().st_size > 40_000_000
