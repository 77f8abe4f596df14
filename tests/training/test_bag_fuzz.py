"""A share of bench/bag_fuzz.py: damaged bags are refused with a reason, and what reads is kept."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import bag_fuzz  # noqa: E402
from bag_damage.case import FAILURES, REFUSED  # noqa: E402

CASES = 160


def test_damage_at_random_places():
    results = list(bag_fuzz.campaign(range(CASES), seed=1))
    failed = [result for result in results if result.outcome in FAILURES]
    assert not failed, bag_fuzz.table(results)
    assert len(results) == CASES
    assert {result.base for result in results} == set(bag_fuzz.KINDS)
    assert {result.damage for result in results} == {"cut", "flip"}
    assert sum(result.outcome == REFUSED for result in results) > CASES / 2
    assert max(result.seconds for result in results) < 5.0
