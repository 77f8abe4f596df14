"""ROS 2 nodes around the trainers.

May import: rclpy, message packages, ``roboalign_policy.core``, ``roboalign_policy.ros`` and this
package; torch stays in the processes that the nodes start.
"""
