"""`check` and `refute`: two independently computed sides, compared so that a wrong one cannot pass."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import sympy
import torch
from numpy.typing import NDArray
from torch import Tensor

from workedpapers.lab.ledger import EQUATION_TAG, ERRATUM_TAG

Comparable: TypeAlias = (
    Tensor
    | NDArray[Any]
    | np.generic
    | int
    | float
    | complex
    | Fraction
    | sympy.Expr
    | sympy.MatrixBase
    | Sequence[Any]
)


@dataclass(frozen=True)
class _Precision:
    rounding: float  # the relative difference that rounding may make: the rtol of check
    meaningful: float  # a relative difference that is no rounding any more: the rtol of refute
    absolute: float  # atol as a share of rtol × largest magnitude: entries near zero carry their neighbours' rounding


_DOUBLE = _Precision(rounding=1e-9, meaningful=1e-6, absolute=1e-3)
_SINGLE = _Precision(rounding=1e-5, meaningful=1e-2, absolute=1e-1)
_PRECISIONS = {
    "float64": _DOUBLE,
    "float32": _SINGLE,
    "float16": _Precision(rounding=1e-2, meaningful=1e-1, absolute=1e-1),
    "bfloat16": _Precision(rounding=5e-2, meaningful=3e-1, absolute=1e-1),
    "complex128": _DOUBLE,
    "complex64": _SINGLE,
}

# The Python numbers that each dtype can stand against: those it holds without dropping a part of them.
_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
_HOLDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    **dict.fromkeys(_INTEGERS, (int,)),
    **dict.fromkeys(["float64", "float32", "float16", "bfloat16"], (int, float, Fraction)),
    **dict.fromkeys(["complex128", "complex64"], (int, float, Fraction, complex)),
}

# Points at which two sympy expressions may show that they differ, whatever their symbols' assumptions.
_WITNESSES = [sympy.Rational(n, d) for d in (5, 1) for n in (7, -11, 13, -17, 19, -23, 2, -3, 4, 0)]


def check(
    tag: str,
    left: Comparable,
    right: Comparable,
    text: str,
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Compare the two sides of an equation and print `✓ TAG text`; raise if they differ.

    Entries a and b agree if |a − b| ≤ rtol · max(|a|, |b|) + atol. Integers, booleans, fractions and sympy are
    compared exactly: a sympy difference must simplify to zero. Python numbers against a tensor or array are compared
    in its dtype, against floats in float64; so are sympy numbers against floats.

    Args:
        tag: the equation's, such as "FW.4".
        left, right: the sides, computed independently and of equal shape: tensors, arrays, numbers, nested sequences
            of numbers, sympy expressions or sympy matrices.
        text: one line that says what is equal.
        rtol: relative tolerance of floating sides, in [0, 1); default 1e-9 in float64, 1e-5 in float32, 1e-2 in
            float16, 5e-2 in bfloat16.
        atol: absolute tolerance of floating sides; default rtol times a thousandth (in float64, else a tenth) of the
            largest magnitude on either side, or of 1 where one side is zero everywhere and so sets no scale.
    Raises:
        AssertionError: the sides differ; it names the largest error, its index, both values and the tolerance.
        TypeError: a side that is none of the above, two tensors or arrays of unequal dtype, a number that the other
            side's dtype cannot hold.
        ValueError: a malformed tag or text, unequal shapes, an empty side, NaN or inf, the same storage on both
            sides, a meta tensor, a tolerance out of range or for exact sides, an undecided sympy difference.
    """
    _verify_labels(tag, EQUATION_TAG, "FW.4", text)
    compared = _compare(("left", left), ("right", right), rtol, atol, refuting=False)
    if compared.differs.any():
        count = f"{compared.differs.sum()} of {compared.differs.size} entries differ"
        raise AssertionError(f"{tag}: left and right are not equal: {compared.at_worst()}; {count} ({text})")
    print(f"✓ {tag} {text}")


def refute(
    tag: str,
    wrong: Comparable,
    right: Comparable,
    text: str,
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Show that a wrong form differs from the right one and print `✗ TAG text`; raise if it does not.

    The twin of `check`, with the same sides and refusals. One entry must differ by more than rounding ever explains,
    |a − b| > rtol · max(|a|, |b|) + atol, and never by less than `check` lets pass by default. A sympy difference
    must be provably unequal to zero.

    Args:
        tag: the erratum's, such as "FW.E1".
        wrong, right: the wrong form and the right one, as in `check`.
        text: one line that says what differs.
        rtol: the relative difference of floating sides that counts, in [0, 1); default 1e-6 in float64, 1e-2 in
            float32, 0.1 in float16, 0.3 in bfloat16.
        atol: as in `check`.
    Raises:
        AssertionError: no entry differs by that much; it names the largest difference, as `check` does.
        TypeError, ValueError: as `check`.
    """
    _verify_labels(tag, ERRATUM_TAG, "FW.E1", text)
    compared = _compare(("wrong", wrong), ("right", right), rtol, atol, refuting=True)
    if not compared.differs.any():
        raise AssertionError(f"{tag}: wrong and right do not differ: {compared.at_worst()} ({text})")
    print(f"✗ {tag} {text}")


@dataclass(frozen=True)
class _Side:
    """One side: floating values as float64 or complex128, all others as Python numbers or sympy (dtype object)."""

    name: str
    values: NDArray[Any]
    dtype: str | None  # of the tensor or array; Python numbers and sympy have none


@dataclass(frozen=True)
class _Comparison:
    left: _Side
    right: _Side
    error: NDArray[Any]  # |left − right|; for sympy their difference, simplified
    tolerance: NDArray[Any]
    differs: NDArray[np.bool_]

    def at_worst(self) -> str:
        """The largest error, of the entries beyond tolerance if there are any, and where it is."""
        candidates = np.flatnonzero(self.differs) if self.differs.any() else np.arange(self.differs.size)
        symbolic = isinstance(self.error.flat[0], sympy.Basic)
        worst = candidates[0] if symbolic else max(candidates, key=lambda i: self.error.flat[i])
        index = [int(i) for i in np.unravel_index(worst, self.error.shape)]
        left, right, error, tolerance = (
            array.flat[worst] for array in (self.left.values, self.right.values, self.error, self.tolerance)
        )
        shown = f"{error:.3g}" if isinstance(error, float) else str(error)
        return (
            f"largest error {shown} at index {index}, where {self.left.name} is {left} and {self.right.name} is "
            f"{right}; the tolerance there is {tolerance:.3g}"
        )


def _verify_labels(tag: str, grammar: re.Pattern[str], example: str, text: str) -> None:
    if not isinstance(tag, str) or not isinstance(text, str):
        raise TypeError(f"tag and text must be strings, got {tag!r} and {text!r}")
    if not grammar.fullmatch(tag):
        raise ValueError(f"tag {tag!r}: expected the form of {example!r}")
    if text != text.strip() or len(text.splitlines()) != 1:
        raise ValueError(f"{tag}: text {text!r}: expected one line of text, with no space around it")


def _compare(
    left: tuple[str, Comparable],
    right: tuple[str, Comparable],
    rtol: float | None,
    atol: float | None,
    refuting: bool,
) -> _Comparison:
    a, b = _read(*left), _read(*right)
    if a.values.shape != b.values.shape:
        raise ValueError(
            f"{a.name} has shape {a.values.shape}, {b.name} {b.values.shape}: expected equal shapes (no broadcasting)"
        )
    _verify_storage(left, right)
    a, b, dtype = _common(a, b)
    if dtype in _PRECISIONS:
        return _compare_floating(a, b, _PRECISIONS[dtype], rtol, atol, refuting)
    if rtol is not None or atol is not None:
        raise ValueError(f"rtol {rtol}, atol {atol}: {dtype} sides are compared exactly and take no tolerance")
    return _compare_symbolic(a, b) if dtype == "sympy" else _compare_exact(a, b)


def _compare_floating(
    a: _Side,
    b: _Side,
    precision: _Precision,
    rtol: float | None,
    atol: float | None,
    refuting: bool,
) -> _Comparison:
    if not (rtol is None or 0 <= rtol < 1):
        raise ValueError(f"rtol {rtol}: expected a number in [0, 1)")
    if not (atol is None or 0 <= atol < math.inf):
        raise ValueError(f"atol {atol}: expected a finite number, zero or more")
    with np.errstate(over="ignore"):  # an infinite error is an error
        error = np.abs(a.values - b.values)
        magnitude = np.maximum(np.abs(a.values), np.abs(b.values))
    scale = magnitude.max() if a.values.any() and b.values.any() else 1.0

    def tolerance(rtol: float, atol: float | None) -> NDArray[Any]:
        return np.asarray(rtol * magnitude + (precision.absolute * rtol * scale if atol is None else atol))

    default = precision.meaningful if refuting else precision.rounding
    allowed = tolerance(default if rtol is None else rtol, atol)
    if refuting:  # whatever was asked for, rounding refutes nothing
        allowed = np.maximum(allowed, tolerance(precision.rounding, None))
    return _Comparison(a, b, np.asarray(error), allowed, np.asarray(error > allowed))


def _compare_exact(a: _Side, b: _Side) -> _Comparison:
    error = np.asarray(abs(a.values - b.values), dtype=object)
    return _Comparison(a, b, error, np.zeros(error.shape), np.asarray(error != 0, dtype=bool))


def _compare_symbolic(a: _Side, b: _Side) -> _Comparison:
    pairs = zip(a.values.flat, b.values.flat, strict=True)
    error = _objects([sympy.simplify(sympy.expand(x - y)) for x, y in pairs], a.values.shape)
    verdicts = [_vanishes(difference) for difference in error.flat]
    if None in verdicts and False not in verdicts:
        undecided = error.flat[verdicts.index(None)]
        raise ValueError(f"cannot decide whether {a.name} and {b.name} are equal: is {undecided} zero?")
    differs = np.array([verdict is False for verdict in verdicts]).reshape(error.shape)
    return _Comparison(a, b, error, np.zeros(error.shape), differs)


def _vanishes(difference: sympy.Expr) -> bool | None:
    """Whether a simplified expression is zero for all values of its symbols; None if that is undecided.

    Not by sympy's `equals` alone: it also tries values that the assumptions of the symbols exclude.
    """
    if difference == 0:
        return True
    symbols = sorted(difference.free_symbols, key=str)
    allowed = [[point for point in _WITNESSES if _admits(symbol, point)] for symbol in symbols]
    if all(allowed):
        for shift in range(len(_WITNESSES)):
            witness = {
                s: points[(k + shift) % len(points)] for k, (s, points) in enumerate(zip(symbols, allowed, strict=True))
            }
            value = difference.subs(witness)
            if value.is_finite and value.equals(0) is False:
                return False
    return None


def _admits(symbol: sympy.Symbol, point: sympy.Rational) -> bool:
    """Whether the assumptions of a symbol (positive, integer, …) let it take that value."""
    return all(getattr(point, f"is_{name}") is truth for name, truth in symbol.assumptions0.items())


def _read(name: str, side: Comparable) -> _Side:
    """The side as an array; refuses what cannot be compared with anything."""
    if isinstance(side, Tensor):
        dtype = str(side.dtype).removeprefix("torch.")
        values = _read_tensor(name, side)
    elif isinstance(side, np.ndarray | np.generic):
        dtype = side.dtype.name
        values = np.asarray(side)
    else:
        dtype = None
        values = _read_numbers(name, side)
    if values.size == 0:
        raise ValueError(f"{name} is empty, of shape {values.shape}: expected something to compare")
    if dtype is not None and dtype not in _HOLDS:
        raise TypeError(f"{name} has dtype {dtype}: expected one of {', '.join(_HOLDS)}")
    if dtype in _PRECISIONS:
        values = values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)
        _verify_finite(name, values)
    else:
        values = values.astype(object)
    return _Side(name, values, dtype)


def _read_tensor(name: str, side: Tensor) -> NDArray[Any]:
    if side.is_meta:
        raise ValueError(f"{name} is a meta tensor: expected one with values")
    if side.layout != torch.strided:
        raise TypeError(f"{name} has layout {side.layout}: expected a dense tensor")
    values = side.detach().cpu().resolve_conj().resolve_neg()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # NumPy has no bfloat16


def _read_numbers(name: str, side: Any) -> NDArray[Any]:
    """Nested sequences of numbers, or a number alone, as an array of objects."""
    if isinstance(side, sympy.MatrixExpr):
        side = side.as_explicit()
    if isinstance(side, sympy.MatrixBase):
        side = side.tolist()
    if isinstance(side, Sequence) and not isinstance(side, str | bytes):
        items = [_read_numbers(f"{name}[{k}]", item) for k, item in enumerate(side)]
        if len({item.shape for item in items}) > 1:
            raise ValueError(f"{name} holds sequences of unequal shapes: expected a rectangular array")
        return np.stack(items) if items else np.empty(0, dtype=object)
    if not isinstance(side, int | float | complex | Fraction | sympy.Expr):
        raise TypeError(
            f"{name} is a {type(side).__name__}: expected a tensor, an array, a number, a sympy expression or matrix, "
            "or a sequence of numbers (stack tensors and arrays first)"
        )
    if isinstance(side, sympy.Expr) and (side is sympy.nan or side.is_finite is False):
        raise ValueError(f"{name} is {side}: expected a finite expression")
    return _objects([side], ())


def _objects(items: Sequence[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of Python objects, whose items NumPy does not look into."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _verify_finite(name: str, values: NDArray[Any]) -> None:
    finite = np.isfinite(np.abs(values))
    if not finite.all():
        raise ValueError(f"{name} holds NaN or inf, first at index {np.argwhere(~finite)[0].tolist()}")


def _verify_storage(left: tuple[str, Comparable], right: tuple[str, Comparable]) -> None:
    """Refuse one object, or two views of one memory, on both sides: they are equal whatever they hold."""
    (name, a), (other, b) = left, right
    shared = a is b and isinstance(a, Sequence)
    if isinstance(a, Tensor | np.ndarray) and isinstance(b, Tensor | np.ndarray):
        (a_device, a_start, a_stop), (b_device, b_start, b_stop) = _storage(a), _storage(b)
        shared = a_device == b_device and a_start < b_stop and b_start < a_stop
    if shared:
        raise ValueError(f"{name} and {other} share their storage: expected two sides that were computed apart")


def _storage(side: Tensor | NDArray[Any]) -> tuple[str, int, int]:
    """Device, first byte and end of the whole memory that a tensor or array is a view of."""
    owner: Any = side
    while getattr(owner, "base", None) is not None:
        owner = owner.base
    if isinstance(owner, Tensor):
        storage = owner.untyped_storage()
        return str(owner.device), storage.data_ptr(), storage.data_ptr() + storage.nbytes()
    if not isinstance(owner, np.ndarray):  # memory that no array owns, such as a mapped file
        owner = side
    return "cpu", owner.ctypes.data, owner.ctypes.data + owner.nbytes


def _common(a: _Side, b: _Side) -> tuple[_Side, _Side, str]:
    """Both sides in the dtype they are compared in; "exact" and "sympy" stand for Python integers and expressions."""
    if a.dtype and b.dtype and a.dtype != b.dtype:
        raise TypeError(f"{a.name} has dtype {a.dtype}, {b.name} has {b.dtype}: expected equal dtypes")
    dtype = a.dtype or b.dtype
    if dtype is None:
        numbers = [*a.values.flat, *b.values.flat]
        symbolic = any(isinstance(number, sympy.Expr) for number in numbers)
        if not any(_is_floating(number) for number in numbers):
            return a, b, "sympy" if symbolic else "exact"
        a, b = _evaluated(a), _evaluated(b)
        is_complex = any(isinstance(number, complex) for side in (a, b) for number in side.values.flat)
        dtype = "complex128" if is_complex else "float64"
    return _cast(a, dtype), _cast(b, dtype), dtype


def _is_floating(number: Any) -> bool:
    return isinstance(number, float | complex) or (isinstance(number, sympy.Expr) and number.has(sympy.Float))


def _evaluated(side: _Side) -> _Side:
    """Python numbers in place of sympy's, which must have no free symbols to stand beside floats."""
    numbers: list[Any] = []
    for number in side.values.flat:
        if isinstance(number, sympy.Expr):
            if number.free_symbols:
                raise ValueError(
                    f"{side.name} is {number}: expected no symbols where there are floats (use sympy.Rational for them)"
                )
            value = complex(number)
            number = value if value.imag else value.real
        numbers.append(number)
    return _Side(side.name, _objects(numbers, side.values.shape), None)


def _cast(side: _Side, dtype: str) -> _Side:
    """Python numbers as the values of that dtype which they stand for."""
    if side.dtype:
        return side
    for number in side.values.flat:
        if not isinstance(number, _HOLDS[dtype]):
            raise TypeError(f"{side.name} holds {number!r}: {dtype} cannot hold a {type(number).__name__}")
    if dtype not in _PRECISIONS:
        return side
    try:
        exact = torch.tensor([complex(number) for number in side.values.flat], dtype=torch.complex128)
    except OverflowError as error:
        raise ValueError(f"{side.name} holds a number too large for {dtype}") from error
    wide = exact if "complex" in dtype else exact.real
    return _read(f"{side.name} (as {dtype})", wide.to(getattr(torch, dtype)).reshape(side.values.shape))
