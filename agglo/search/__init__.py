"""Search over configurations of the training, several seeds of each, on the same actors."""
