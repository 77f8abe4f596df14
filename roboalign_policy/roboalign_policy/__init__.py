"""All that runs beside a robot: contract, FAST tokenizer, policy, simulator and their nodes.

Imports run one way; ``tests/policy/test_import_rules.py`` walks the syntax trees and enforces it:

=========  ==============================  ====================================================
Part       may import from this package    and from outside
=========  ==============================  ====================================================
core/      nothing                         standard library, numpy, yaml; PIL inside a function
fast/      core                            numpy, scipy, tokenizers, numba
models/    core, fast                      torch, transformers, tokenizers, safetensors, PIL
sim/       core                            numpy, mujoco
ros/       core                            rclpy, message packages, mcap
nodes/     core, fast, models, sim, ros    rclpy, message packages, mcap
=========  ==============================  ====================================================

rclpy and message packages appear in ``ros/`` and ``nodes/`` only, torch in ``models/`` only, and
nothing here imports ``roboalign_training``.
"""
