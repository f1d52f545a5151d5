"""How good forecasts are: metrics and baselines."""
