"""The record of everything that changes who may do what. It is only ever added to."""
