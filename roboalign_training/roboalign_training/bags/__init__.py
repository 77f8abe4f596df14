"""Bags of any storage, read without ROS: files, messages, definitions, losses."""
