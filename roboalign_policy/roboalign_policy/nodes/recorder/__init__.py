"""recorder_node."""
