"""What must hold of a call: one that is valid has the same results in all forms, and one that is not an error."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fastblackout.call.declared import DECLARED
from fastblackout.call.keys import resolve_rng
from fastblackout.call.outputs import Chosen, OrGiven
from support.arrays import Poisoned, bits
from support.contract import forms
from support.contract.calls import Case, Pick
from support.contract.given_outputs import Frozen, Other, names_of, takes_out
from support.contract.violations import Violation
from support.helpers import ISAS, using

LOSSES = ("birth_loss", "energy_loss", "posterior_loss")
FORM = re.compile(r"(\w+)(?:\.\w+)?: ([^:]+): .+, got ")
PLACE = re.compile(r"(\.0)?( at sample \d+.*)?$")  # which the reference does not say, and how it says whole numbers
MEAN = {"head": "logits", "offset": "gain"}  # what the op says that the family "mean" stands for


def called(case: Case, arguments: dict[str, Any], backend: str, threads: int = 1, upstream: float = 0.0) -> Any:
    """The results by name, in NumPy, of a call that raises no FloatingPointError and warns of nothing.

    upstream: of a loss that is differentiated.
    """
    with using(backend, threads), np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        return gradients(case, arguments, upstream) if upstream else forms.flat(case.function(**arguments))


def gradients(case: Case, arguments: dict[str, Any], upstream: float) -> dict[str, Any]:
    """The loss and what it is differentiated by."""
    name = next(each for each in ("expected", "head", "logits") if arguments.get(each) is not None)
    given = arguments[name] if isinstance(arguments[name], tuple) else (arguments[name],)
    leaves = tuple(each.detach().clone().requires_grad_() for each in given)
    loss = case.function(**arguments | {name: leaves if isinstance(arguments[name], tuple) else leaves[0]})
    made = torch.autograd.grad(loss, leaves, upstream * torch.linspace(-1.0, 2.0, len(loss)))
    return forms.flat((loss.detach(), *made))


def holds(case: Case, pick: Pick) -> None:
    """A valid call gives the reference's bits in every library, in full, in parts and for any number of threads."""
    expected = called(case, case.arguments, "reference")
    check_kinds(case, expected)

    def check(what: str, made: dict[str, Any], expected: dict[str, Any] = expected) -> None:
        forms.same(made, expected, what)

    how = {"threads": pick("threads", (1, 2, 3)), "backend": f"cpu-{pick('instructions', ISAS)}"}
    forms_of = {"NumPy": forms.as_numpy, "torch": forms.as_torch, "DLPack": forms.as_foreign, "JAX": forms.as_jax}
    for library in (pick("library", ("NumPy", "torch")), pick("another", tuple(forms_of))):
        given = forms_of[library](case, case.arguments, pick)
        if given is not None:
            with forms.wide_jax() if library == "JAX" else contextlib.nullcontext():
                check(library, called(case, given, **how))
    full = forms.broadcast(case)
    made = called(case, forms_of[pick("in full", ("NumPy", "torch"))](case, full, pick), **how)
    check("in full", unsigned(case, made), unsigned(case, expected))
    if case.shape:
        cut = forms.parts(case, pick("cut", range(case.samples + 1)))
        library = pick("in parts", ("NumPy", "torch"))
        made = [called(case, forms_of[library](case, part, pick), **how) for part in cut]
        check("in parts", forms.joined(made))
    if case.op in LOSSES and pick("graded", (False, True)):
        given = forms.as_torch(case, case.arguments, pick)
        upstream = pick("upstream", (1.0, 1e-45, 1e30))
        wanted = called(case, given, "reference", upstream=upstream)
        check("gradient", called(case, given, **how, upstream=upstream), wanted)
        made = called(case, forms.as_torch(case, full, pick), **how, upstream=upstream)
        check("gradient in full", unsigned(case, made), unsigned(case, wanted))
    if case.op in DECLARED and takes_out(case) and pick("out", (False, True)):
        into_out(case, pick, how, expected)
    if "rng" in case.arguments and pick("rng", ("given", "none")) == "none":
        without_key(case, forms_of[pick("library", ("NumPy", "torch"))](case, case.arguments, pick), how)


def check_kinds(case: Case, made: dict[str, Any]) -> None:
    """Counts come back in the shape and the dtype that they came in."""
    first = next(iter(case.arguments[name] for name in names_of(case) if name in case.arguments))
    outputs = DECLARED[case.op].outputs if case.op in DECLARED else None
    for name, value in made.items():
        like = name not in ("model_input", "overshoot")
        if isinstance(outputs, (Chosen, OrGiven)) and like:
            assert (value.dtype, value.shape) == (first.dtype, first.shape), name
        elif name == "model_input":
            assert (value.dtype, value.shape) == (case.arguments["input_dtype"], first.shape)
        elif case.op == "split" and isinstance(first, np.ndarray):
            assert value.dtype == first.dtype


def unsigned(case: Case, made: dict[str, Any]) -> dict[str, Any]:
    """birth_loss does not keep the sign of a weight in a loss of 0, where each element has a weight of its own."""
    return {name: value + value.dtype.type(0) for name, value in made.items()} if case.op == "birth_loss" else made


def without_key(case: Case, given: dict[str, Any], how: dict[str, Any]) -> None:
    """A call without a key has the seed that torch's generator gives."""
    torch.manual_seed(3)
    key = resolve_rng(None, None, "test")
    state = torch.get_rng_state()
    expected = called(case, given | {"rng": key}, **how)
    torch.manual_seed(3)
    forms.same(called(case, given | {"rng": None}, **how), expected, "without a key")
    drawn = not (case.op == "multinomial" and case.arguments["probs"].shape[-1] == 1)  # one category needs none
    assert torch.equal(torch.get_rng_state(), state) or not drawn


def into_out(case: Case, pick: Pick, how: dict[str, Any], expected: dict[str, Any]) -> None:
    """Arrays that are given hold the results, and nothing beside them is written."""
    outputs, library = DECLARED[case.op].outputs, pick("library", ("numpy", "torch"))
    layout = forms.layout_of(pick, ())
    if isinstance(outputs, Chosen):
        made = {name: Poisoned(expected[name].shape, str(expected[name].dtype), layout, library)
                for name in outputs.names if name in expected}  # fmt: skip
        out = outputs.result(**{name: each.value for name, each in made.items()})
    elif isinstance(outputs, OrGiven):
        made = {"0": Poisoned(expected["0"].shape, str(expected["0"].dtype), layout, library)}
        out = made["0"].value
    else:
        return
    given = (forms.as_numpy if library == "numpy" else forms.as_torch)(case, case.arguments, pick)
    forms.same(called(case, given | {"out": out}, **how), expected, "out")
    for name, each in made.items():
        forms.same({name: each.view}, {name: expected[name]}, "what out holds")
        each.check()


def refused(case: Case, violation: Violation, backends: tuple[str, ...], libraries: tuple[str, ...]) -> str:
    """The text of the error, which is the same on every backend and in every library, with nothing written."""
    named, label, changes = violation
    texts: dict[str, str] = {}
    if any(
        isinstance(value, Frozen) or (isinstance(value, tuple) and Frozen in map(type, value))
        for value in changes.values()
    ):
        libraries = ("numpy",)
    for library in libraries:
        given = {name: converted(value, library.split(" ")[0]) for name, value in (case.arguments | changes).items()}
        if library == "torch with gradients":
            given = {name: asked_for(case.roles.get(name), value) for name, value in given.items()}
        for backend in backends:
            before, state = contents(given), torch.get_rng_state()
            with using(backend):
                text = error_of(case.function, given)
            what = f"{case.op}, {named}, {label}, {library}, {backend}: {text}"
            found = FORM.match(text.partition(": ")[2])
            assert found and "\n" not in text and len(text) < 500, what
            names = (named,) if isinstance(named, str) else named
            assert found[2] in names or (case.arguments.get("family") == "mean" and found[2] in MEAN.values()), what
            assert contents(given) == before, f"written: {what}"
            assert torch.equal(torch.get_rng_state(), state), f"a seed was drawn: {what}"
            texts[f"{library} {backend}"] = PLACE.sub("", text)
    first = next(iter(texts.values()))
    rules = {text.partition(", got ")[0] for text in texts.values()}
    alone = {text for name, text in texts.items() if name.startswith(libraries[0])}
    assert len(rules) == 1 and len(alone) == 1, texts
    return first


def error_of(function: Callable[..., Any], arguments: dict[str, Any]) -> str:
    try:
        function(**arguments)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def converted(value: Any, library: str) -> Any:
    """An argument in a library, but for what is there for NumPy alone."""
    if isinstance(value, Frozen):
        return value.array
    if isinstance(value, Other):
        return torch.from_numpy(value.array.copy()) if library == "numpy" else value.array
    if isinstance(value, tuple):
        parts = [converted(each, library) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    tensor = library == "torch" and type(value) is np.ndarray and value.dtype.isnative
    return torch.from_numpy(value.copy()) if tensor else value


def asked_for(role: Any, value: Any) -> Any:
    """What a network gives, with a gradient asked for."""
    if role == "head" and isinstance(value, tuple):
        return tuple(asked_for(role, each) for each in value)
    wanted = role in ("network", "head") and type(value) is torch.Tensor and value.is_floating_point()
    return value.requires_grad_() if wanted else value


def contents(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: contents(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [contents(each) for each in value]
    plain = type(value) is np.ndarray or (type(value) is torch.Tensor and value.layout is torch.strided)
    return bits(value) if plain else None
