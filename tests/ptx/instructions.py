"""The instructions that are known, and what each means: the one table of this package, from the PTX ISA.

A row has an opcode, whose alternatives are in braces, the types of its operands, destinations first, and its meaning
in C++: an expression of the sources a, b, c, d. The opcode's last suffixes are the types:

    T    the last suffix as a number, a float of .f32; a NaN that is computed becomes the canonical one
    B    its bits, which nothing changes
    W    an integer twice as wide
    D    the last suffix but one, which cvt makes
    V    B, or two or four of them where the opcode has .v2 or .v4
    p|q  two destinations, of which the second may be left out: the meaning is a Two
    []   a place in memory; where the opcode has no state space, by a generic address
    -    no destination

or u32 and pred as they are. $1 is the first suffix, $2 the second, $-2 the last but one; SPACE is the state space, t
the thread, LINE the line of the instruction and the order in memory that its suffixes tell, and AT what threads that
wait for one another must have in common. State spaces and .v2 or .v4 are left out in the opcodes of ld, st, atom
and red here. A suffix .ftz flushes the float32s that are read and made. The functions are in runtime.h.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

_INT = "{u16,s16,u32,s32,u64,s64}"
_ANY_INT = "{u8,s8,u16,s16,u32,s32,u64,s64}"
_MEMORY = "{b8,u8,s8,b16,u16,s16,b32,u32,s32,f32,b64,u64,s64,f64}"
_FLOAT = "{f32,ftz.f32,f64}"
_DIRECTED = "{rz,rm,rp}"
_WHOLE = "{rni,rzi,rmi,rpi}"
_COMPARED = "{eq,ne,lt,le,gt,ge,lo,ls,hi,hs}"
_ORDERED = "{eq,ne,lt,le,gt,ge,num}"
_ORDERS, _SCOPES = (".relaxed", ".acquire", ".release", ".acq_rel"), (".cta", ".gpu", ".sys")
_BOTH = [order + scope for order in _ORDERS for scope in _SCOPES] + [s + o for o in _ORDERS for s in _SCOPES]
_ORDER = "{" + ",".join(["", *_ORDERS, *_SCOPES, *_BOTH]) + "}"  # LLVM writes the scope first
_ATOM, _RED = f"atom{_ORDER}", f"red{_ORDER}"

ROWS = (
    # Integers
    (f"add.{_INT}", "T T T", "a + b"),
    (f"sub.{_INT}", "T T T", "a - b"),
    (f"mul.lo.{_INT}", "T T T", "a * b"),
    (f"mul.hi.{_INT}", "T T T", "high_product(a, b)"),
    ("mul.wide.{u16,s16,u32,s32}", "W T T", "W(a) * W(b)"),
    (f"mad.lo.{_INT}", "T T T T", "a * b + c"),
    (f"mad.hi.{_INT}", "T T T T", "high_product(a, b) + c"),
    ("mad.wide.{u16,s16,u32,s32}", "W T T W", "W(a) * W(b) + c"),
    (f"div.{_INT}", "T T T", "quotient(a, b)"),
    (f"rem.{_INT}", "T T T", "remainder(a, b)"),
    ("abs.{s16,s32,s64}", "T T", "a < 0 ? -a : a"),
    ("neg.{s16,s32,s64}", "T T", "-a"),
    (f"min.{_INT}", "T T T", "a < b ? a : b"),
    (f"max.{_INT}", "T T T", "a > b ? a : b"),
    ("min.s16x2", "b32 b32 b32", "by_halves(least_integer<int16_t>, a, b)"),
    ("max.s16x2", "b32 b32 b32", "by_halves(greatest_integer<int16_t>, a, b)"),
    ("popc.{b32,b64}", "u32 B", "ones(a)"),
    ("clz.{b32,b64}", "u32 B", "leading_zeros(a)"),
    ("bfind.{u32,s32,u64,s64}", "u32 T", "highest_bit(a)"),
    ("bfind.shiftamt.{u32,s32,u64,s64}", "u32 T", "shift_of_highest_bit(a)"),
    ("brev.{b32,b64}", "B B", "reversed(a)"),
    ("bfe.{u32,s32,u64,s64}", "T T u32 u32", "extracted(a, b, c)"),
    ("bfi.{b32,b64}", "B B B u32 u32", "inserted(a, b, c, d)"),
    ("prmt.b32", "B B B B", "permuted(a, b, c)"),
    # Bits
    ("and.{pred,b16,b32,b64}", "B B B", "a & b"),
    ("or.{pred,b16,b32,b64}", "B B B", "a | b"),
    ("xor.{pred,b16,b32,b64}", "B B B", "a ^ b"),
    ("not.pred", "B B", "!a"),
    ("not.{b16,b32,b64}", "B B", "~a"),
    ("lop3.b32", "B B B B u32", "by_table(a, b, c, d)"),
    ("shl.{b16,b32,b64}", "B B u32", "shifted_left(a, b)"),
    ("shr.{b16,b32,b64,u16,s16,u32,s32,u64,s64}", "T T u32", "shifted_right(a, b)"),
    ("shf.{l,r}.{wrap,clamp}.b32", "B B B u32", "funnel_$1(a, b, $2(c))"),
    # Floats. Without a rounding .rn is meant, and an assembler may fuse such a product and a sum.
    (f"add{{,.rn}}.{_FLOAT}", "T T T", "a + b"),
    (f"sub{{,.rn}}.{_FLOAT}", "T T T", "a - b"),
    (f"mul{{,.rn}}.{_FLOAT}", "T T T", "a * b"),
    (f"fma.rn.{_FLOAT}", "T T T T", "std::fma(a, b, c)"),
    (f"div.rn.{_FLOAT}", "T T T", "a / b"),
    (f"rcp.rn.{_FLOAT}", "T T", "1 / a"),
    (f"sqrt.rn.{_FLOAT}", "T T", "std::sqrt(a)"),
    (f"add.{_DIRECTED}.{_FLOAT}", "T T T", "directed<$1>(sum<T>, a, b)"),
    (f"sub.{_DIRECTED}.{_FLOAT}", "T T T", "directed<$1>(sum<T>, a, -b)"),
    (f"mul.{_DIRECTED}.{_FLOAT}", "T T T", "directed<$1>(product<T>, a, b)"),
    (f"div.{_DIRECTED}.{_FLOAT}", "T T T", "directed<$1>(ratio<T>, a, b)"),
    ("rcp.approx.{f32,ftz.f32}", "T T", "rough_inverse(a)"),
    ("sqrt.approx.{f32,ftz.f32}", "T T", "rough_sqrt(a)"),
    ("ex2.approx.{f32,ftz.f32}", "T T", "rough_exp2(a)"),
    ("neg.{f32,f64}", "B B", "a ^ top_bit<B>"),
    ("abs.{f32,f64}", "B B", "a & ~top_bit<B>"),
    ("copysign.{f32,f64}", "B B B", "(a & top_bit<B>) | (b & ~top_bit<B>)"),
    (f"min.{_FLOAT}", "T T T", "least(a, b)"),
    (f"max.{_FLOAT}", "T T T", "-least(-a, -b)"),
    # Comparisons
    ("setp.{eq,ne}.{b16,b32,b64}", "p|q B B", "both($1(a, b))"),
    (f"setp.{_COMPARED}.{_INT}", "p|q T T", "both($1(a, b))"),
    (f"setp.{_COMPARED}.{{and,or,xor}}.{_INT}", "p|q T T pred", "both_$2($1(a, b), c)"),
    (f"setp.{_ORDERED}.{{f16,bf16,f32,ftz.f32,f64}}", "p|q T T", "both(numbers(a, b) && $1(a, b))"),
    (
        "setp.{equ,neu,ltu,leu,gtu,geu,nan}.{f16,bf16,f32,ftz.f32,f64}",
        "p|q T T",
        "both(!numbers(a, b) || $1(a, b))",
    ),
    (f"setp.{_ORDERED}.f16x2", "p|q b32 b32", "ordered_halves($1<half>, a, b)"),
    (f"setp.{_ORDERED}.bf16x2", "p|q b32 b32", "ordered_halves($1<bfloat>, a, b)"),
    ("selp.{b16,u16,s16,b32,u32,s32,f32,b64,u64,s64,f64}", "B B B pred", "c ? a : b"),
    # Conversions
    (f"cvt.{_ANY_INT}.{_ANY_INT}", "D T", "D(a)"),
    (f"cvt.{_WHOLE}.{_ANY_INT}.{{f32,f64}}", "D T", "to_integer<D>($1(a))"),
    (f"cvt.{_WHOLE}.ftz.{_ANY_INT}.f32", "D T", "to_integer<D>($1(a))"),
    (f"cvt.{_WHOLE}.{{f32.f32,ftz.f32.f32,f64.f64}}", "T T", "$1(a)"),
    (f"cvt.rn.{{f16,f32,f64}}.{_ANY_INT}", "D T", "D(a)"),
    (f"cvt.{_DIRECTED}.{{f32,f64}}.{_ANY_INT}", "D T", "directed<$1>(converted<D, T>, a)"),
    ("cvt.{f32.f16,f64.f16,f32.bf16,f64.bf16,f64.f32}", "D T", "D(a)"),
    ("cvt.rn.{f32.f64,f16.f32,bf16.f32,f16.f64}", "D T", "D(a)"),
    ("cvt.rn.f16x2.f32", "b32 T T", "two_halves(half(b), half(a))"),
    ("cvt.rn.bf16x2.f32", "b32 T T", "two_halves(bfloat(b), bfloat(a))"),
    (f"cvt.{_DIRECTED}.f32.f64", "D T", "directed<$1>(converted<D, T>, a)"),
    # Moves
    ("mov.{pred,b16,u16,s16,b32,u32,s32,f32,b64,u64,s64,f64}", "B B", "a"),
    (f"ld{{,.nc,.volatile}}.{_MEMORY}", "V []", "load<SPACE, V>(t, a, LINE)"),
    (f"ld.{{relaxed,acquire}}.{{cta,gpu,sys}}.{_MEMORY}", "B []", "load_atomic<SPACE, B>(t, a, LINE)"),
    (f"st{{,.volatile}}.{_MEMORY}", "- [] V", "store<SPACE, V>(t, a, b, LINE)"),
    (f"st.{{relaxed,release}}.{{cta,gpu,sys}}.{_MEMORY}", "- [] B", "store_atomic<SPACE, B>(t, a, b, LINE)"),
    ("cvta{,.to}.{global,param,const,local}.u64", "B B", "a"),
    ("cvta.shared.u64", "B B", "a + shared_window(t)"),
    ("cvta.to.shared.u64", "B B", "a - shared_window(t)"),
    ("cp.async.cg.shared.global", "- [shared] [global] u32", "copy_async(t, a, b, c, LINE)"),
    ("cp.async.wait_all", "-", "wait_for_copies(t)"),
    # Several threads and one place in memory
    (f"{_ATOM}.{{add,min,max,exch}}.{{u32,s32,u64}}", "T [] T", "atomic<SPACE>(t, a, LINE, then_$-2<T>, b, T())"),
    (f"{_ATOM}.{{inc,dec}}.u32", "T [] T", "atomic<SPACE>(t, a, LINE, then_$-2<T>, b, T())"),
    (f"{_ATOM}.{{and,or,xor,exch}}.{{b32,b64}}", "B [] B", "atomic<SPACE>(t, a, LINE, then_$-2<B>, b, B())"),
    (f"{_ATOM}.cas.{{b32,b64}}", "B [] B B", "atomic<SPACE>(t, a, LINE, then_cas<B>, b, c)"),
    (f"{_RED}.{{add,min,max}}.{{u32,s32,u64}}", "- [] T", "atomic<SPACE>(t, a, LINE, then_$-2<T>, b, T())"),
    (f"{_RED}.{{and,or,xor}}.{{b32,b64}}", "- [] B", "atomic<SPACE>(t, a, LINE, then_$-2<B>, b, B())"),
    ("membar.{cta,gl,sys}", "-", "fence(t, LINE)"),
    ("fence.{acq_rel,sc}.{cta,gpu,sys}", "-", "fence(t, LINE)"),
    # Threads that wait for one another
    ("bar.sync", "- u32", "wait_for_block(t, AT, a, LINE)"),
    ("bar.warp.sync", "- u32", "wait_for_warp(t, AT, a)"),
    ("shfl.sync.{up,down,bfly,idx}.b32", "B|q B u32 u32 u32", "shuffled(t, AT, lane_$2, a, b, c, d, LINE)"),
    ("redux.sync.{add,min,max}.{u32,s32}", "T T u32", "reduced(t, AT, then_$-2<T>, a, b)"),
    ("redux.sync.{and,or,xor}.b32", "B B u32", "reduced(t, AT, then_$-2<B>, a, b)"),
    ("ldmatrix.sync.aligned.m8n8.x4.shared.b16", "b128 [shared]", "load_matrices(t, AT, a, LINE)"),
    ("stmatrix.sync.aligned.m8n8.x4.shared.b16", "- [shared] b128", "store_matrices(t, AT, a, b, LINE)"),
    ("vote.sync.{all,any,uni}.pred", "pred pred u32", "vote_$2(votes(t, AT, a, b), b & present(t))"),
    ("vote.sync.ballot.b32", "u32 pred u32", "votes(t, AT, a, b)"),
    # Control
    ("bra{,.uni}", "- label", "goto a"),
    ("call{,.uni}", "- call", "a"),
    ("ret{,.uni}", "-", "return"),
    ("trap", "-", 'fault(t, LINE, "trap")'),
)


class Meaning(NamedTuple):
    types: tuple[str, ...]  # of the destination, then of the sources
    text: str


def alternatives(pattern: str) -> list[str]:
    """["add.u16", "add.s16"] of "add.{u16,s16}"."""
    parts = [part.split(",") for part in re.split(r"[{}]", pattern)]  # outside of braces there is no comma
    return ["".join(each) for each in itertools.product(*parts)]


TABLE = {
    opcode: Meaning(tuple(types.split()), text) for pattern, types, text in ROWS for opcode in alternatives(pattern)
}
