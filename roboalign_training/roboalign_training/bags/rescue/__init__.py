"""A whole bag out of a damaged or unfinished one."""
