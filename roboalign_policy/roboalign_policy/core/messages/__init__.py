"""Values out of messages and into them, and pictures; no ROS."""
