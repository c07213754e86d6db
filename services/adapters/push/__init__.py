"""Web push: an encrypted message to a browser, by way of its vendor's service."""
