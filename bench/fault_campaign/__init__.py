"""Fault campaign of the safety gate: see ../faults.py."""
