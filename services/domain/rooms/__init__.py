"""Rooms of our own: places where several people and several agents write to each other."""
