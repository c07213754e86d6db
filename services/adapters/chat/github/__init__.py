"""Issues and pull requests at GitHub, by an app's webhook and the REST API."""
