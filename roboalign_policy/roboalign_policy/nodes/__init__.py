"""The nodes, a folder each, and what starts them: they declare, convert, call and publish.

Imports: every other part of this package; rclpy and message packages from outside. This file
imports nothing.
"""
