"""The GPU backends: the same functions over torch tensors, one module each."""
