"""Publishers and subscriptions of other nodes, and the processes behind them."""
