"""What must hold of a call: one that is valid has the same results in all forms, and one that is not an error.

The forms: in another library, broadcast in full, and in parts of the batch.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import importlib.util
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from fastblackout.call.keys import resolve_rng
from fastblackout.call.outputs import Chosen, OrGiven
from support.arrays import LAYOUTS, NUMPY_ONLY, DLPackOnly, Poisoned, as_library, bits, lay
from support.contract.calls import OPS, Case, Pick, simplest, valid
from support.contract.violations import Frozen, Other, Violation, names_of, takes_out, violations
from support.helpers import ISAS, using

Arguments = dict[str, Any]


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """The value with every array in it changed."""
    if isinstance(value, fb.Prob):
        return fb.Prob(*(mapped(change, side) for side in value))
    if isinstance(value, tuple):
        return tuple(mapped(change, each) for each in value)
    return change(value) if isinstance(value, np.ndarray) else value


def broadcast(case: Case) -> Arguments:
    """All arguments in full: every element, or every sample, has a number of its own."""
    arguments = dict(case.arguments)
    for name, whole in case.whole.items():
        value = arguments[name]
        sides = tuple(value) if isinstance(value, fb.Prob) else (value,)
        sides = tuple(np.array(side) if isinstance(side, (int, float)) else side for side in sides)

        def full(array: Any, name: str = name, whole: tuple[int, ...] = whole) -> Any:
            if name in case.beside:
                if len(whole) < array.ndim:  # numbers of samples, in a column
                    array = array.reshape(array.shape[0])
                elif array.ndim == 1:
                    array = array.reshape(-1, *(1 for _ in whole[1:]))
            return np.broadcast_to(array, whole).copy()

        sides = mapped(full, sides)
        arguments[name] = fb.Prob(*sides) if isinstance(value, fb.Prob) else sides[0]
    return arguments


def parts(case: Case, at: int) -> Iterator[Arguments]:
    """The samples before and after one, with the keys that draw the same for them."""
    for first, end in ((0, at), (at, case.samples)):
        arguments = dict(case.arguments)
        for name, axis in case.axes.items():
            part = (*(slice(None) for _ in range(axis)), slice(first, end))
            least = 1 if name in case.beside else max(len(case.whole[name]), 1)

            def cut(array: Any, axis: int = axis, part: Any = part, least: int = least) -> Any:
                return array[part] if array.ndim >= least and array.shape[axis] == case.samples else array

            arguments[name] = mapped(cut, arguments[name])
        if "rng" in arguments:
            arguments["rng"] = arguments["rng"].at(first_sample=arguments["rng"].first_sample + first)
        yield arguments


def as_numpy(case: Case, arguments: Arguments, pick: Pick) -> Arguments:
    """In the memory of NumPy, of any order."""
    return mapped_by_name(arguments, lambda name, array: lay(array, layout_of(pick, NUMPY_ONLY)))


def as_torch(case: Case, arguments: Arguments, pick: Pick) -> Arguments:
    """As tensors, what a network gives in bfloat16 where that holds it, and the key as one."""
    numbers = pick("numbers as", ("tensors", "arrays"))

    def tensor(name: str, array: Any) -> Any:
        if name in case.beside and numbers == "arrays":
            return array
        made = as_library(lay(array, layout_of(pick, ())), "torch")
        narrow = case.roles[name] in ("network", "head") and made.dtype is torch.float32
        return made.bfloat16() if narrow and torch.equal(made.bfloat16().float(), made) else made

    made = mapped_by_name(arguments, tensor)
    if "rng" in made and pick("key as", ("Philox", "a tensor")) == "a tensor":
        made["rng"] = made["rng"].tensor()
    return made


def as_foreign(case: Case, arguments: Arguments, pick: Pick) -> Arguments:
    """As arrays of a library that has nothing but DLPack."""
    return mapped_by_name(arguments, lambda name, array: DLPackOnly(np.array(array)))


def as_jax(case: Case, arguments: Arguments, pick: Pick) -> Arguments | None:
    """As arrays of JAX, or None where it is not installed."""
    if importlib.util.find_spec("jax") is None:
        return None
    with wide_jax():
        return mapped_by_name(arguments, lambda name, array: importlib.import_module("jax.numpy").asarray(array))


def wide_jax() -> Any:
    """A context in which JAX has 64 bits."""
    jax = importlib.import_module("jax")
    return (jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")).enable_x64(True)


def layout_of(pick: Pick, more: tuple[str, ...]) -> str:
    """One that keeps the values."""
    return pick("layout", [how for how in LAYOUTS if how != "expanded" and (how not in NUMPY_ONLY or how in more)])


def mapped_by_name(arguments: Arguments, change: Callable[[str, Any], Any]) -> Arguments:
    return {name: mapped(lambda array, name=name: change(name, array), value) for name, value in arguments.items()}


def flat(made: Any) -> dict[str, Any]:
    """Results by name, as NumPy arrays."""
    if not isinstance(made, tuple):
        made = (made,)
    names = getattr(made, "_fields", range(len(made)))
    return {str(name): on_numpy(value) for name, value in zip(names, made, strict=True) if value is not None}


def on_numpy(value: Any) -> Any:
    if isinstance(value, DLPackOnly):
        value = value.array
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return (value.float() if value.dtype is torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _one_nan(value: Any) -> Any:
    """With one NaN for all: sign and payload of one that torch rounds to float16 differ by its version."""
    return np.where(np.isnan(value), np.nan, value).astype(value.dtype) if value.dtype.kind == "f" else value


def same(made: dict[str, Any], expected: dict[str, Any], what: str) -> None:
    assert made.keys() == expected.keys(), what
    for name, value in made.items():
        if bits(_one_nan(value)) != bits(_one_nan(expected[name])):
            raise AssertionError(f"{what}: {name}: {value!r} is not {expected[name]!r}"[:1500])


def joined(made: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.concatenate([each[name] for each in made]) for name in made[0]}


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
        return gradients(case, arguments, upstream) if upstream else flat(case.function(**arguments))


def gradients(case: Case, arguments: dict[str, Any], upstream: float) -> dict[str, Any]:
    """The loss and what it is differentiated by."""
    name = next(each for each in ("expected", "head", "logits") if arguments.get(each) is not None)
    given = arguments[name] if isinstance(arguments[name], tuple) else (arguments[name],)
    leaves = tuple(each.detach().clone().requires_grad_() for each in given)
    loss = case.function(**arguments | {name: leaves if isinstance(arguments[name], tuple) else leaves[0]})
    made = torch.autograd.grad(loss, leaves, upstream * torch.linspace(-1.0, 2.0, len(loss)))
    return flat((loss.detach(), *made))


def holds(case: Case, pick: Pick) -> None:
    """A valid call gives the reference's bits in every library, in full, in parts and for any number of threads."""
    expected = called(case, case.arguments, "reference")
    check_kinds(case, expected)

    def check(what: str, made: dict[str, Any], expected: dict[str, Any] = expected) -> None:
        same(made, expected, what)

    how = {"threads": pick("threads", (1, 2, 3)), "backend": f"cpu-{pick('instructions', ISAS)}"}
    forms_of = {"NumPy": as_numpy, "torch": as_torch, "DLPack": as_foreign, "JAX": as_jax}
    for library in (pick("library", ("NumPy", "torch")), pick("another", tuple(forms_of))):
        given = forms_of[library](case, case.arguments, pick)
        if given is not None:
            with wide_jax() if library == "JAX" else contextlib.nullcontext():
                check(library, called(case, given, **how))
    full = broadcast(case)
    made = called(case, forms_of[pick("in full", ("NumPy", "torch"))](case, full, pick), **how)
    check("in full", unsigned(case, made), unsigned(case, expected))
    if case.shape:
        cut = parts(case, pick("cut", range(case.samples + 1)))
        library = pick("in parts", ("NumPy", "torch"))
        made = [called(case, forms_of[library](case, part, pick), **how) for part in cut]
        check("in parts", joined(made))
    if case.op in LOSSES and pick("graded", (False, True)):
        given = as_torch(case, case.arguments, pick)
        upstream = pick("upstream", (1.0, 1e-45, 1e30))
        wanted = called(case, given, "reference", upstream=upstream)
        check("gradient", called(case, given, **how, upstream=upstream), wanted)
        made = called(case, as_torch(case, full, pick), **how, upstream=upstream)
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
    same(called(case, given | {"rng": None}, **how), expected, "without a key")
    drawn = not (case.op == "multinomial" and case.arguments["probs"].shape[-1] == 1)  # one category needs none
    assert torch.equal(torch.get_rng_state(), state) or not drawn


def into_out(case: Case, pick: Pick, how: dict[str, Any], expected: dict[str, Any]) -> None:
    """Arrays that are given hold the results, and nothing beside them is written."""
    outputs, library = DECLARED[case.op].outputs, pick("library", ("numpy", "torch"))
    layout = layout_of(pick, ())
    if isinstance(outputs, Chosen):
        made = {name: Poisoned(expected[name].shape, str(expected[name].dtype), layout, library)
                for name in outputs.names if name in expected}  # fmt: skip
        out = outputs.result(**{name: each.value for name, each in made.items()})
    elif isinstance(outputs, OrGiven):
        made = {"0": Poisoned(expected["0"].shape, str(expected["0"].dtype), layout, library)}
        out = made["0"].value
    else:
        return
    given = (as_numpy if library == "numpy" else as_torch)(case, case.arguments, pick)
    same(called(case, given | {"out": out}, **how), expected, "out")
    for name, each in made.items():
        same({name: each.view}, {name: expected[name]}, "what out holds")
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


def with_feature(feature: dict[str, Any], pick: Pick = simplest) -> Pick:
    """What takes a feature wherever it is to choose from, and all arguments that may be left out."""

    def choose(name: str, options: Any) -> Any:
        if name in feature and feature[name] in options:
            return feature[name]
        return True if name.endswith(" given") and True in options else pick(name, options)

    return choose


def texts(features: list[dict[str, Any]]) -> str:
    """Of every op, argument and violation, in a call with one feature that has it."""
    told: dict[str, dict[str, set[str]]] = collections.defaultdict(lambda: collections.defaultdict(set))
    for op in OPS:
        seen = set()
        for feature in features:
            case = valid(op, with_feature(feature))
            for violation in violations(case):
                if (what := violation[:2]) not in seen:
                    seen.add(what)
                    text = refused(case, violation, ("reference", "cpu-scalar"), ("numpy", "torch with gradients"))
                    kind, owner, argument, rule = text.split(": ", 3)
                    rule, _, got = rule.partition(", got ")
                    told[f"{kind}: {rule}"][f"{owner}.{argument}"].add(got)
    lines = []
    for rule, owners in sorted(told.items()):
        groups: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
        for owner, values in sorted(owners.items()):
            op, _, argument = owner.partition(".")
            groups[" | ".join(sorted(values))][op].append(argument)
        for got, ops in sorted(groups.items()):
            names = ", ".join(f"{op}.{' | '.join(arguments)}" for op, arguments in ops.items())
            lines += [f"{rule}, got {got}", *textwrap.wrap(names, 116, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join(lines) + "\n"
