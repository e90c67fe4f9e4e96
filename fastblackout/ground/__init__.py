"""The lowest layer, with the modules of the package root: values as users give them, and tensors that are kept."""
