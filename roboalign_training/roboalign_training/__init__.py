"""All that runs offline: data sets from bags, SFT, GRPO, evaluation and ``roboalign``.

Imports run one way; ``tests/policy/test_import_rules.py`` walks the syntax trees and enforces it:
this package may import ``roboalign_policy``, never the reverse. rclpy and message packages appear
in ``ros/`` and ``nodes/`` only, so that every job runs where no ROS is installed; torch may appear
anywhere here.
"""
