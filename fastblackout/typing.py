"""Types of arguments and results, for annotations alone.

Arrays come out as what they were: a function that takes `ArrayT | NDArray[Any]` and returns ArrayT gives a Tensor for a
Tensor and an array of JAX for an array of JAX. For NumPy it gives an array of any dtype, the default of ArrayT, since
results differ in dtype from arguments. So no array of NumPy whose dtype is known is in the bound of ArrayT: it has only
arrays of records, which no op takes, and among these the default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Generic as Generic

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from typing_extensions import TypeVar
else:
    from typing import TypeVar as _TypeVar

    def TypeVar(name: str, *, bound: Any = None, default: Any = None, covariant: bool = False) -> Any:
        """Without a default, which Python has since 3.13."""
        return _TypeVar(name, bound=bound, covariant=covariant)

    class Generic:
        """No base at all, since torch 2.6 takes for a named tuple only a class whose one base is tuple."""

        def __class_getitem__(cls, _: Any) -> Any:
            return cls()

        def __mro_entries__(self, _: Any) -> tuple[type, ...]:
            return ()


class Array(Protocol):
    """An array of any library."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class _Jax(Protocol):
    @property
    def addressable_shards(self) -> Any: ...


class _Sparse(Protocol):
    @property
    def nnz(self) -> int: ...
    def tocsr(self, copy: bool = False) -> Any: ...


class _Cells(Protocol):
    @property
    def obs(self) -> Any: ...
    @property
    def var(self) -> Any: ...


T_co = TypeVar("T_co", covariant=True, default=Any)  # what the result classes hold
ArrayT = TypeVar("ArrayT", bound="torch.Tensor | _Jax | NDArray[np.void]", default="NDArray[Any]")
# Of ops that take scipy.sparse and AnnData, too.
CountsT = TypeVar("CountsT", bound="torch.Tensor | _Jax | _Sparse | _Cells | NDArray[np.void]", default="NDArray[Any]")
# Of functions that give tensors, and for all else NumPy's float64.
TensorT = TypeVar("TensorT", bound="torch.Tensor | NDArray[np.float64]", default="NDArray[np.float64]")

# What becomes an array of NumPy where no other array is given.
NumpyLike: TypeAlias = "float | np.number[Any] | NDArray[Any]"
# The same for functions that read lists, too.
RealLike: TypeAlias = "NumpyLike | Sequence[float] | Sequence[Sequence[float]]"
# Numbers of samples or of elements, which do not decide what comes out.
Numbers: TypeAlias = "float | Sequence[float] | Sequence[Sequence[float]] | Array"
Real: TypeAlias = "float | Array"  # where a list is refused
Scalar: TypeAlias = "float | np.number[Any]"
Device: TypeAlias = "torch.device | str | int"

Backend: TypeAlias = Literal["auto", "reference", "cpu", "cuda", "triton"]
Isa: TypeAlias = Literal["scalar", "avx2", "avx512"]
CountDtype: TypeAlias = Literal["uint8", "int16", "int32", "int64"]
FloatDtype: TypeAlias = Literal["float32", "float64", "bfloat16", "float16"]
Family: TypeAlias = Literal["beta-binomial", "bayes-logistic", "negative-binomial", "mean"]
HeadName: TypeAlias = Literal["mean", "implicit", "beta-binomial", "bayes-logistic", "negative-binomial"]
ThinOutput: TypeAlias = Literal["x_t", "births", "model_input"]
StepOutput: TypeAlias = Literal["x_s", "model_input"]
Rounding: TypeAlias = Literal["stochastic", "nearest"]
Sampler: TypeAlias = Literal["bridge", "tau-leap", "tau-leap-rate", "lanl-2023"]
LastStep: TypeAlias = Literal["draw", "mean"]
Grid: TypeAlias = Literal["cosine", "index", "early"]
Weight: TypeAlias = Literal["likelihood", "finite-time", "instantaneous", "energy", "uniform"]
Times: TypeAlias = Literal["uniform", "early"]
Leap: TypeAlias = Literal["bridge-mean", "rate"]
Parametrization: TypeAlias = Literal["likelihood", "paper"]
Network: TypeAlias = Literal["small", "mlp", "cifar10", "celeba64", "mnist"]
BridgeInput: TypeAlias = Literal["unit", "log1p"]
Input: TypeAlias = Literal["reference", "unit", "normalized", "log1p"]
ScheduleName: TypeAlias = Literal["logit", "cosine", "linear"]
Compile: TypeAlias = Literal["auto", "on", "off"]
Precision: TypeAlias = Literal["auto", "fp32", "bf16", "tf32"]
StopBy: TypeAlias = Literal["loss", "bits"]
Weights: TypeAlias = Literal["ema", "network"]
DataName: TypeAlias = Literal[
    "digits", "mnist", "fashion-mnist", "mnist-binary", "cifar10", "celeba64", "folder", "array", "h5ad"
]
Channels: TypeAlias = Literal["first", "last"]
Pretrained: TypeAlias = Literal["digits", "fashion-mnist", "mnist"]
Boundary: TypeAlias = Literal["blocked", "open"]
Method: TypeAlias = Literal["auto", "eigendecomposition", "uniformization", "expm"]
Kind: TypeAlias = Literal["logits", "probs"]  # what a model gives of x_0

Labels: TypeAlias = "torch.Tensor | NDArray[np.integer[Any]] | Sequence[int] | int"

# Dtypes as libraries have them, or their names.
FloatDtypeLike: TypeAlias = "FloatDtype | torch.dtype | np.dtype[Any] | type"
