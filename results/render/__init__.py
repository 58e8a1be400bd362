"""Tables, plots, pictures, model cards and reports."""
