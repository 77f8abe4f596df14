"""Bags to damage, and what is expected of the reader then; `bench/bag_fuzz.py` runs it."""
