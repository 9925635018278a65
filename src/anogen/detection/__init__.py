"""Out-of-distribution detection: scores, a calibrated detector, and how well it does."""
