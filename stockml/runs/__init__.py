"""Run and sweep folders on disk."""
