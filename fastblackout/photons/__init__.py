"""Photons: images of few photons given more, because a noisy image of counts is a thinned one."""

from .denoise import Denoised, denoise, rate

__all__ = ["Denoised", "denoise", "rate"]
