"""The way out of a sandbox: an HTTP proxy on a socket of its own, which dials only what it has checked."""
