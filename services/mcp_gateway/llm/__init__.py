"""The model proxy: a task's token comes in, the real key goes out, and what a call used is counted."""
