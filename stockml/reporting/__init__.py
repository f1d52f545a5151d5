"""What users see of a run: lines on the terminal, tables, plots and pages."""
