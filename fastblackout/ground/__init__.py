"""What everything else stands on, as on the modules of the package root: values as users give them, kept tensors."""
