"""Errors of recordings and data sets: the path once, then what is wrong."""

from __future__ import annotations

import pickle

import pytest

from roboalign_training.bags.errors import BagError, DataError


@pytest.mark.parametrize(
    ("path", "cause", "told"),
    [
        ("bags/a.mcap", "a.mcap: is cut off", "bags/a.mcap: is cut off"),
        ("bags/a.mcap", "bags/a.mcap: is cut off", "bags/a.mcap: is cut off"),
        ("a.mcap", "one; a.mcap: two; b.mcap: three", "a.mcap: one; two; b.mcap: three"),
        ("a.mcap", "cannot be read: [Errno 13] Permission denied: 'a.mcap'",
         "a.mcap: cannot be read: [Errno 13] Permission denied"),
        ("/x/a.parquet", "cannot be read: Failed to open local file '/x/a.parquet'. Detail: gone",
         "/x/a.parquet: cannot be read: Failed to open local file. Detail: gone"),
        ("video", "found 'video', expected png", "video: found 'video', expected png"),
        ("data", "metadata: found nothing", "data: metadata: found nothing"),
    ],
)  # fmt: skip
def test_a_path_stands_once_in_a_message(path, cause, told):
    error = BagError(path, cause)
    assert str(error) == told
    assert str(pickle.loads(pickle.dumps(error))) == told


def test_an_error_of_the_system_names_its_file_once(tmp_path):
    path = tmp_path / "a.mcap"
    with pytest.raises(FileNotFoundError) as caught:
        path.open()
    error = DataError(path, f"cannot be opened: {caught.value}")
    assert str(error).count("a.mcap") == 1
