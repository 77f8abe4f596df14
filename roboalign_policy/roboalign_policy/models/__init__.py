"""Torch side of the suite: the MLLM with its action vocabulary, generation and the Policy.

May import: torch, transformers, ``roboalign_policy.core`` and ``roboalign_policy.fast``; never
rclpy or the simulator.
"""
