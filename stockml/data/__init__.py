"""From a source of numbers to scaled samples: source, panel, split, scaler, batches."""
