"""safety_gate_node and its observer."""
