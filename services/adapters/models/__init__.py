"""Speaking to the servers of models: asking whether a key is good, and passing calls on."""
