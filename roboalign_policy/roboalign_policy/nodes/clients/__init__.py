"""Clients of the nodes: for a terminal, for a simulator, for a look at the graph."""
