"""The runner: keeps the link to the gateway, works on one turn at a time, loses no durable event."""
