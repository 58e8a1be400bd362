"""The dashboard's worker process, and what it computes."""
