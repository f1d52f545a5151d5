"""How a model is trained: hardware, loop, early stopping, checkpoints."""
