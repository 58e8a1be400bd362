"""Fronts, repeats, history and correlations, computed from what is stored."""
