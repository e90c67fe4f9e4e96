"""What tests/ops/test_contract.py calls ops with, made from their declarations.

`calls` makes a valid call, `forms` the same call in other forms, `violations` one with one wrong argument, and `texts`
collects what all wrong arguments are told.
"""
