"""Triton kernels of fastblackout, installed as fastblackout.kernels. One file an op; importing one needs triton."""
