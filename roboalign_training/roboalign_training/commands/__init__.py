"""Commands of `roboalign` around the nodes of the policy package."""
