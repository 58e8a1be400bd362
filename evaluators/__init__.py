"""Measures and improves one architecture: data, degradations, metrics, training."""
