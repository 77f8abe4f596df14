"""A policy on another machine: the wire, the server beside the model, the client beside the robot.

May import: the standard library, numpy, msgpack, websockets and ``roboalign_policy.core``; never
torch (the robot's computer has no need of it) and never rclpy (the GPU machine has none).
"""
