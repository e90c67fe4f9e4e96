"""Triton kernels of fastblackout, each beside its launch; installed as fastblackout.kernels. They need triton."""
