"""policy_node: what it loads, asks and sends."""
