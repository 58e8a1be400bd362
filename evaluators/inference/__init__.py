"""Running a network on whole images: padding, ensembles, tiles."""
