"""Observations: readings of streams, resampled to the frames that a model sees."""
