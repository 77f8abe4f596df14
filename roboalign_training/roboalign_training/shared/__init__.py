"""What several commands of the training package share; the standard library and rich only."""
