"""A search for the times, the guidance and the last step with which a trained model is best sampled in few steps."""
