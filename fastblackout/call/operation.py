"""A call of a declared op finds its way: to the kernels at once, or around by what its first array is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import adopt_settled, is_traced, name_of_torch
from ..ground.values import is_tensor
from . import foreign, short
from .arguments import COPIED, Counts, copied, through_torch
from .declared import Declaration
from .numbers import NUMBERS_OR_NONE, MaxCount, largest
from .outputs import Chosen


class Operation(Declaration):
    """A declared op that is called."""

    def __call__(self, values: Sequence[Any], request: Sequence[Any] = (), backend: str = "auto") -> Any:
        """The op on the values of its arguments. request: outputs, input_dtype and out, of an op that takes them."""
        if (made := short.call(self, values, request, backend)) is not None:
            return made
        first = values[0]
        plain = type(first) is np.ndarray  # for which there is nothing to ask
        if not plain and (drawn := foreign.entered(self, values, request, backend)) is not None:
            return drawn
        if self.per_element is not None:
            for at, differs in self.numbers:
                if type(values[at]) not in NUMBERS_OR_NONE and differs(values[at]):
                    return self.per_element(self, values, request, backend)
        if (made := self._of_copies(values, request, backend)) is not None:
            return made
        if not plain:
            tensors = self.arguments[0].tensors(first)
            if any(through_torch(tensor, backend) for tensor in tensors):
                from . import torch_registry

                return torch_registry.call(self, tensors[0], values, request, backend)
        return self.on_host(values, request, backend)

    def _of_copies(self, values: Sequence[Any], request: Sequence[Any], backend: str) -> Any:
        """The short way with counts that are copied to a dtype of the kernels first; None for all others."""
        counts, first = self.arguments[0], values[0]
        if not (isinstance(counts, Counts) and isinstance(self.outputs, Chosen)):
            return None
        if not isinstance(first, np.ndarray) and (not is_tensor(first) or is_traced(first)):
            return None
        if (first.dtype.name if isinstance(first, np.ndarray) else name_of_torch(first.dtype)) not in COPIED:
            return None
        array = adopt_settled(first, self.op, counts.names[0], counts.accepted)
        for argument, value in zip(self.arguments, values, strict=True):
            if isinstance(argument, MaxCount) and type(value) is int and value > largest(array.dtype):
                return None
        copy = copied(array, self.op, counts.names[0])
        made = short.call(self, (copy.value, *values[1:]), request, backend)
        return None if made is None else self.outputs.returned_as(made, copy)
