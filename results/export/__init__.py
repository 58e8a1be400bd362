"""Checked files of a trained network."""
