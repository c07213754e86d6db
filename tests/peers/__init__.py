"""Tests against programs of others, which speak the platforms' protocols."""
