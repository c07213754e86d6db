"""The dashboard's views: parse, one action or query, render."""
