"""Mail of the platform itself: kept sealed until the server has taken it, so that a crash loses none."""
