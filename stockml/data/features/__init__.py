"""Features: expressions over the columns of daily bars."""
