"""Trainings ended at random moments, in random ways, and resumed: what they leave is as if nothing had ended them."""
