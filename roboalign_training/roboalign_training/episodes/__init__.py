"""Episodes of a bag, and their frames: scanned, planned, made."""
