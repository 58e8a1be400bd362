"""Decides what to try next and runs it: strategies, budget, Ray, the command line."""
