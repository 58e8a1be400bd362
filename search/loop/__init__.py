"""What to try next: questions, rungs, candidates turned away before training."""
