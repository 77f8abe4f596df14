"""Where a policy came from: its record, and the way back to the bags."""
