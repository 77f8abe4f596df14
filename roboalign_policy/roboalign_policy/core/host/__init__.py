"""This computer: its cores, shared memory, DDS profile, and how a process is to end."""
