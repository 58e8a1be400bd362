"""Scoring channels, choosing widths for a target, and cutting."""
