"""The lowest layer, beside the modules of the package root: values as users give them, kept tensors, the terminal."""
