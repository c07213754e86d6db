"""Builders of derived images, behind `services/domain/ports/images.py`."""
