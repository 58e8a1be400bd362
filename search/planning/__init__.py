"""How much a time is enough for."""
