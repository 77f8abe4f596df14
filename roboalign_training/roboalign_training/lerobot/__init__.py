"""Exchange with LeRobot: data sets out as LeRobot v3.0, LeRobot v2.1 and v3.0 in; no ROS.

`export` and `importing` do the work; the format is in `layout`, `files`, `stats`, `video` and
`source`, what belongs to what in `mapping`.
"""
