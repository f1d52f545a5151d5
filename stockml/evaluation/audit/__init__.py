"""The leakage audit: its checks are in checks.py."""
