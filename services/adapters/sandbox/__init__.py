"""Sandbox drivers: docker, bubblewrap and null, behind `services.domain.ports.sandbox`."""
