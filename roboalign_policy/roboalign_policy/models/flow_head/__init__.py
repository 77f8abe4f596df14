"""The flow-matching action head: what it is (config, network), how it moves (flow, chunking).

Imports torch and the rest of `models`, no ROS and no data set.
"""
