"""A call of a declared op finds its way: to the kernels at once, or around by what its first array is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import foreign, short
from .arguments import through_torch
from .declared import Declaration
from .numbers import NUMBERS_OR_NONE


class Operation(Declaration):
    """A declared op that is called."""

    def __call__(self, values: Sequence[Any], request: Sequence[Any] = (), backend: str = "auto") -> Any:
        """The op on the values of its arguments. request: outputs, input_dtype and out, of an op that takes them."""
        first = values[0]
        plain = type(first) is np.ndarray  # for which there is nothing to ask
        if not plain:
            if self.quick:
                drawn = short.call(self.quick, first, backend, values, request, self.outputs.names)
                if drawn is not None:
                    return self.outputs.result(*drawn)
            if (drawn := foreign.entered(self, values, request, backend)) is not None:
                return drawn
        if self.per_element is not None:
            for at, differs in self.numbers:
                if type(values[at]) not in NUMBERS_OR_NONE and differs(values[at]):
                    return self.per_element(self, values, request, backend)
        if not plain:
            tensors = self.arguments[0].tensors(first)
            if any(through_torch(tensor, backend) for tensor in tensors):
                from . import torch_registry

                return torch_registry.call(self, tensors[0], values, request, backend)
        return self.on_host(values, request, backend)
