"""Processes: job pools, lifelines, signals, and what the machine has."""
