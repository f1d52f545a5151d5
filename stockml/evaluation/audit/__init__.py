"""The leakage audit."""
