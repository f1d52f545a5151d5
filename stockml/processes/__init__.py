"""Processes: job pools, lifelines, signals, and the machine's cores and GPUs."""
