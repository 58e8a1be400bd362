"""Bicubic down-scaling and the corruptions that tasks apply to clean images."""
