"""Why an episode failed: what the record tells and no more."""

from __future__ import annotations

import pytest

from roboalign_training.evaluate.causes import cause_of, count_causes, detail_of, missing_goals

ONE = {"red cube on white plate": False}
TWO = {"drawer open": True, "red cube in the drawer": False}


def record(**changes):
    """A failed episode in which nothing happened."""
    return {
        "success": False, "chunks": 6, "valid_chunks": 6, "faults": [], "refused_run": False,
        "goals": ONE, "moved": [], **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"success": True}, ""),
        ({}, "time limit, nothing was moved"),
        ({"moved": ["blue cube"]}, "time limit, only other objects were moved"),
        ({"moved": ["red cube 2"]}, "time limit, only other objects were moved"),
        ({"moved": ["blue cube", "red cube"]}, "time limit, moved, but not to its place"),
        ({"goals": TWO, "moved": ["drawer"]}, "time limit, 1 of 2 goals met"),
        ({"goals": {"drawer open": False}, "moved": ["drawer"]},
         "time limit, moved, but not to its place"),
        ({"refused_run": True, "valid_chunks": 3, "faults": ["undecodable"] * 3},
         "chunks refused (undecodable)"),
        ({"valid_chunks": 0, "faults": ["out_of_limits", "non_finite"]},
         "chunks refused (non finite, out of limits)"),
    ],
)  # fmt: skip
def test_the_cause(changes, cause):
    assert cause_of(record(**changes)) == cause


def test_of_an_old_result_only_what_it_holds():
    old = {"success": False, "chunks": 6, "valid_chunks": 6, "faults": []}
    assert cause_of(old) == "time limit"
    assert missing_goals(old) == []
    assert detail_of(old) == ""
    assert cause_of({**old, "valid_chunks": 0, "faults": ["undecodable"]}) == (
        "chunks refused (undecodable)"
    )


def test_details_and_counts():
    found = record(moved=["blue cube"], faults=["undecodable", "undecodable", "out_of_limits"])
    assert detail_of(found) == (
        "missing: red cube on white plate; moved: blue cube; "
        "refused chunks: 2 undecodable, 1 out of limits of 6"
    )
    assert count_causes([record(), record(), record(success=True), found]) == {
        "time limit, nothing was moved": 2,
        "time limit, only other objects were moved": 1,
    }
