"""Features: named columns of the model's input, each an expression over the bars up to its own day."""
