"""Images of few photons: ways of denoising them beside one another."""
