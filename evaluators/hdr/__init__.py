"""High dynamic range: coding and metrics, simulated exposures, files."""
