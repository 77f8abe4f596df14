"""What several commands of the training package share; standard library only."""
