"""What was found: the store, Pareto fronts, figures, export. Reading it needs no torch."""
