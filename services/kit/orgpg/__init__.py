"""A PostgreSQL backend for Django that tells the server, with each BEGIN, whose transaction it is."""
