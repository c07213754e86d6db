"""The operators' desk: Django admin over all organisations, mostly for reading."""
