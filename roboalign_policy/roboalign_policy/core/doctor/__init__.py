"""What `roboalign doctor` looks at, against a snapshot of the graph and of this computer."""
