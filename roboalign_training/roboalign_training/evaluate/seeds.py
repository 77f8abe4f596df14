"""Seeds of the simulator by purpose, which never meet, and how many pairs of nodes may drive."""

from __future__ import annotations

RECORD_SEED = 0
OPEN_LOOP_SEED = 1_000_000
DEVELOPMENT_SEED = 2_000_000
"""Driven while the recipe was chosen; never in the report."""
CLOSED_LOOP_SEED = 3_000_000
CHOICE_SEED = 4_000_000
"""Driven by base and candidate of a GRPO run, to choose between the two."""
BEST_SEED = 5_000_000
"""Driven by the trained policies of an experiment, to choose one of them."""
MOST_SEEDS = OPEN_LOOP_SEED - RECORD_SEED
"""Of each purpose, so that they never meet."""
MOST_WORKERS = 100
"""ROS domains that are safe on every platform; `nodes.closed_loop_worker.DOMAINS`."""
