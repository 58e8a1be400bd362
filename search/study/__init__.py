"""Preparing, opening, driving and ending a study."""
