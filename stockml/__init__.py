"""stockml: composable, honest and reproducible experiments in stock time-series regression."""
