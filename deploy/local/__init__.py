"""The local front door: runs a whole Slipway on one machine, servers and services, under one supervisor."""
