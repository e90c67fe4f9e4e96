"""Records all that a user can see of the ops, and compares two records: python tests/record --help."""
