"""The whole loop on the embedded arm, `roboalign demo`: record, SFT, GRPO, drive, report.

May import: what ``roboalign_training`` may; never rclpy: recording and driving run as processes of
their own.
"""
