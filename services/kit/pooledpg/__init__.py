"""A PostgreSQL backend for Django whose pool recovers from a server's restart at once."""
