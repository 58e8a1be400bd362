"""Decides what to try next and runs it: strategies, budget, Ray, the command line.

``run_search`` and ``Place`` are the Python API; they are imported on first use, so that reading results
needs neither torch nor Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.run import Place as Place
    from search.run import run_search as run_search

__all__ = ["Place", "run_search"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from search import run

        return getattr(run, name)
    raise AttributeError(f"module 'search' has no attribute '{name}'")
