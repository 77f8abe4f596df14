"""Evaluation of checkpoints: open loop on recordings, closed loop through the nodes, report.

May import: numpy, torch, ``roboalign_policy`` (not its ``ros`` and ``nodes``),
``roboalign_training``; never rclpy: what needs ROS runs as a process of its own.
"""
