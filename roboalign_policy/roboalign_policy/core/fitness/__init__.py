"""Whether frames for training can be made of an episode, as far as times tell."""
