"""Bags as the recorder writes them. Imports no rclpy where only files are written."""
