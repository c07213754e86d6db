"""WhatsApp numbers, by the Cloud API."""
