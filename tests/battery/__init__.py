"""Statistical and numerical checks of all that the package computes, by oracles of scipy and mpmath of their own."""
