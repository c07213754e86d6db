"""Web push: the browsers that people want to be told in, the installation's key, what goes out."""
