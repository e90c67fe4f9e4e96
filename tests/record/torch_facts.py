"""What torch knows of the ops: schemas, what is registered for each, and the graphs that their calls are traced to."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch.utils._pytree import tree_leaves

import fastblackout as fb
from fastblackout.call import torch_registry  # noqa: F401  (registers torch.ops.fastblackout)
from record.calls import SHAPES, Ends, ends, text_of
from record.variants import bases
from support import torch_ops
from support.helpers import KEYS

DISPATCH = ("CPU", "CUDA", "Meta", "Autograd", "AutogradCPU", "CompositeImplicitAutograd", "FuncTorchBatched")


def registered() -> Ends:
    """The schema, the tags and the registrations of every op of ours."""
    found = {}
    for name in sorted(name for name in torch._C._dispatch_get_all_op_names() if name.startswith("fastblackout")):
        op = getattr(torch.ops.fastblackout, name.partition("::")[2]).default
        keys = [key for key in DISPATCH if torch._C._dispatch_has_kernel_for_dispatch_key(name, key)]
        entry = torch._library.simple_registry.singleton.find(name)
        fake = entry.fake_impl.kernel is not None
        found[name] = f"{op._schema} {sorted(map(str, op.tags))} {keys}{' fake' * fake}"
    return found


def graph_of(graph: torch.fx.GraphModule) -> str:
    """Its nodes, with the dtype and shape of each."""
    lines = []
    for node in graph.graph.nodes:
        values = tree_leaves(node.meta.get("val", node.meta.get("example_value")))
        made = [f"{v.dtype}{list(v.shape)}{list(v.stride())}" for v in values if isinstance(v, torch.Tensor)]
        lines.append(f"{node.op} {getattr(node.target, '__name__', node.target)} {' '.join(made)}".strip())
    return re.sub(r"torch\.|call_function |_\d+(?= )", "", " > ".join(lines))


def traced(call: Callable[..., Any], arguments: list[Any]) -> str:
    """The graph of torch.compile for a call, as AOTAutograd hands it on."""
    graphs: list[str] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph_of(graph))
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, backend=aot_autograd(fw_compiler=keep, bw_compiler=keep))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = compiled(*arguments)
            if isinstance(made, torch.Tensor) and made.requires_grad:
                made.sum().backward()
    except Exception as error:
        graphs.append(text_of(error)[:300])
    return " ; then ".join(graphs)


def groups(library: Any, only: str) -> Iterator[tuple[str, Ends]]:
    yield "registered", registered()
    x, logits, (p, q) = torch_ops.inputs()
    calls = [*torch_ops.CALLS, torch_ops.composed, torch_ops.bridge_births]
    yield "graphs", {call.__name__: traced(call, [x, logits, p, q, KEYS[1].tensor()]) for call in calls}
    yield "opcheck", {f"{n} {name}": _fake(name, given) for n, (name, given) in enumerate(torch_ops.registered())}
    for base, (op, right) in bases(library, SHAPES[0]).items():
        if only not in base:
            continue
        tensors = {name: value for name, value in right.items() if isinstance(value, torch.Tensor)}
        others = {name: value for name, value in right.items() if name not in tensors}
        if "rng" in others and isinstance(others["rng"], fb.Philox):
            tensors["rng"] = others.pop("rng").tensor()

        def call(*given: Any, op: Any = op, tensors: Any = tensors, others: Any = others) -> Any:
            return op(**dict(zip(tensors, given, strict=True)), **others)

        if tensors:
            twice = {name: torch.stack([value, value]) for name, value in tensors.items()}
            mapped = ends(lambda call=call, twice=twice: torch.vmap(_outputs(call))(*twice.values()), {})
            yield base, {"graph": traced(call, list(tensors.values())), "vmap": mapped}


def _outputs(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given: tuple(each for each in tree_leaves(call(*given)) if each is not None)


def _fake(name: str, given: Any) -> str:
    """What an op of the dispatcher makes of fake tensors, and of real ones."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    op = getattr(torch.ops.fastblackout, name).default
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(each) if isinstance(each, torch.Tensor) else each for each in given]
        made = [f"{each.dtype}{list(each.shape)}{list(each.stride())}" for each in tree_leaves(op(*fakes))]
    return f"{' '.join(made)} {ends(lambda: op(*given), {})}"
