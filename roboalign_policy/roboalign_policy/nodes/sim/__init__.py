"""sim_robot_node: the simulated arm on ROS topics."""
