"""Any system that speaks HTTP, by signed webhooks both ways."""
