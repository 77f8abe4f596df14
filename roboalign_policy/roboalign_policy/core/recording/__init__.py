"""Episodes as they are recorded: keys, tasks, rates, losses, what is kept of the past."""
