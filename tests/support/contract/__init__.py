"""What tests/ops/test_contract.py calls ops with, made from their declarations.

`calls` makes a valid call, `violations` one with one wrong argument, and `check` says what must hold of both.
"""
