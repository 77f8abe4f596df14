"""The contract of a robot: its schema, its rules, its faults, and the paths into messages."""
