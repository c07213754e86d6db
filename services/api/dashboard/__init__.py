"""The dashboard: what the people of an organisation see in their browser."""
