"""The nodes and what starts them: they declare, convert, call the pure code and publish.

Imports: every other part of this package; rclpy and message packages from outside. This file
imports nothing.
"""
