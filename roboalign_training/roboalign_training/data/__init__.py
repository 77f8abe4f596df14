"""Recordings to training data: bags, episodes, data sets, statistics, tokenizer. No ROS."""
