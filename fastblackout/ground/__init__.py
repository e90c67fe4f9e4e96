"""The lowest layer, with the modules of the package root: values as users give them, tensors that are kept, signals."""
