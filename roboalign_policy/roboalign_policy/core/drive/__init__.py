"""How chunks become commands: buffer, cross-fade, pacing, replanning; real time and lock step."""
