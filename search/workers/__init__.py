"""Running trials on workers, and recording what they send."""
