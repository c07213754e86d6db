"""The image that an agent runs in: a generic runner, and the providers that turn a prompt into events."""
