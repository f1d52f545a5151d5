"""How good forecasts are: metrics, baselines, significance, verdict; the leakage audit is in audit/."""
