"""The dashboard's forms: what people type, made into the input of an action."""
