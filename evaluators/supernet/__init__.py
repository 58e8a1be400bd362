"""All chains of a space in one set of weights."""
