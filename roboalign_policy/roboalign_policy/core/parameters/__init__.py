"""Parameters of nodes: declared as dataclasses, read from files, checked before a start."""
