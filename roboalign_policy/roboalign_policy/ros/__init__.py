"""The seam between ROS 2 and the pure code: messages, QoS, parameters, stamps and bags.

Imports: ``core`` from this package; rclpy, message packages, ament_index_python and mcap from
outside. This file imports nothing, so that ``roboalign_policy.ros.recording.bag_writer`` works
where no ROS is installed.
"""
