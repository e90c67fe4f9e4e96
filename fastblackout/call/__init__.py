"""The life of a call of an op: its arguments checked, its way chosen, its results given back."""
