"""TODO one line: what this room is for."""
