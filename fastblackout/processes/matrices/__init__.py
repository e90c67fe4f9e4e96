"""Transition matrices exp(t Q): how they are computed, and how exactly."""
