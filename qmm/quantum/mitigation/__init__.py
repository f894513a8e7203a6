"""Error mitigation, error detection: what is run besides, and how noise is taken out of what comes back."""
