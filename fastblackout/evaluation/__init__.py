"""Evaluation of samples against held-out data, and pictures of them."""

from .samples import compare, table

__all__ = ["compare", "table"]
