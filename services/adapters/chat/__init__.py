"""Chat platforms: one folder each, found by `registry`."""
