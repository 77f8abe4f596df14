"""Torch side of the suite: the MLLM with its action vocabulary, generation and the Policy.

May import: torch, transformers, ``roboalign_policy.core`` and ``roboalign_policy.fast``; never
rclpy or the simulator.
"""

import os

# A thread of OpenMP that waits spins by default, on a core that another program could use: with as
# many threads as cores, every answer then waits for whoever lost its core. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
