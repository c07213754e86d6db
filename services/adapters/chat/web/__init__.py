"""Rooms of our own, on the dashboard and over REST: a platform that nothing has to be sent to."""
