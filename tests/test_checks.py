"""`check` and `refute` on good pairs, bad pairs and pairs that must not be compared at all."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

from workedpapers.lab.checks import check, refute

x, y = sympy.symbols("x y")
n = sympy.Symbol("n", integer=True)
ONES = torch.ones(2, 3, dtype=torch.float64)


def passes(function, *sides, **tolerances):
    """Whether the function prints its line; a refused pair raises out of here."""
    tag = "FW.4" if function is check else "FW.E1"
    try:
        function(tag, *sides, "the sides", **tolerances)
    except AssertionError:
        return False
    return True


EQUAL = {
    "float64 tensors with rounding": (
        torch.tensor([0.1, 0.2]).double() * 3,
        torch.tensor([0.1, 0.2]).double() / (1 / 3),
    ),
    "a tensor and an array": (torch.arange(3.0), np.arange(3.0, dtype=np.float32)),
    "a tensor that requires grad": (torch.ones(2, requires_grad=True), torch.ones(2)),
    "a conjugated tensor": (torch.tensor([1 + 2j]).conj(), torch.tensor([1 - 2j])),
    "an array with negative strides": (np.arange(3.0)[::-1], np.array([2.0, 1.0, 0.0])),
    "bool tensors": (torch.tensor([True, False]), torch.tensor([1, 0]) > 0),
    "Python integers beyond 64 bits": (2**100, 4**50),
    "a fraction and an integer": (Fraction(4, 2), 2),
    "floats that differ by rounding": (0.1 + 0.2, 0.3),
    "a fraction and a float": (Fraction(1, 3), 1 / 3),
    "complex numbers": ((1 + 1j) ** 2, 2j),
    "a float32 tensor and the double nearest to it": (torch.tensor(0.1), 0.1),
    "a complex tensor and a real number": (torch.tensor(2 + 0j), 2),
    "a tensor and a nested list": (torch.eye(2, dtype=torch.int64), [[1, 0], [0, 1]]),
    "a NumPy scalar and a float": (np.sqrt(4.0), 2.0),
    "rounding against zero": (torch.tensor([1e-16, -2e-16], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)),
    "an entry near zero beside a large one": (np.array([1.0, 1e-14]), np.array([1.0, 0.0])),
    "sympy expressions": (sympy.sin(x) ** 2 + sympy.cos(x) ** 2, sympy.Integer(1)),
    "a sympy product and its expansion": ((x + y) ** 3, x**3 + 3 * x**2 * y + 3 * x * y**2 + y**3),
    "the same sympy object": (x + 1, x + 1),
    "a sympy number and a float": (sympy.sqrt(2), 2**0.5),
    "a sympy expression and an integer": (sympy.Integer(6) / 3, 2),
    "a sympy number and a fraction": (sympy.Rational(1, 3), Fraction(1, 3)),
    "sympy floats": (sympy.exp(x).subs(x, 0.5), sympy.exp(sympy.Rational(1, 2))),
    "a complex sympy number and a complex number": (sympy.sqrt(-2), 2**0.5 * 1j),
    "sympy matrices": (sympy.Matrix([[x, 1]]) * sympy.Matrix([[x], [1]]), sympy.Matrix([[x**2 + 1]])),
    "an unevaluated matrix product": (sympy.MatrixSymbol("A", 2, 2).T.T, sympy.MatrixSymbol("A", 2, 2)),
    "a sympy matrix and a list": (sympy.Matrix([[1, 2]]), [[1, 2]]),
}

DIFFERENT = {
    "one entry of float64 tensors": (ONES, ONES + 1e-3 * torch.eye(2, 3)),
    "float32 tensors by 5 %": (torch.ones(2), torch.tensor([1.0, 1.05])),
    "integer tensors by one": (torch.tensor([2**53]), torch.tensor([2**53 + 1])),
    "unsigned tensors by one": (torch.tensor([0], dtype=torch.uint8), torch.tensor([1], dtype=torch.uint8)),
    "bool tensors": (torch.tensor([True, False]), torch.tensor([True, True])),
    "small numbers": (1e-20, 2e-20),
    "small entries of one array": (np.array([1.0, 1e-5]), np.array([1.0, 2e-5])),
    "a small number and zero": (1e-4, 0.0),
    "signs": (1.0, -1.0),
    "numbers too far apart for their difference": (1.7e308, -1.7e308),
    "imaginary parts": (1 + 1j, 1 - 1j),
    "large Python integers by one": (10**400, 10**400 + 1),
    "fractions": (Fraction(1, 3), Fraction(333333333333, 10**12)),
    "an integer beyond the dtype": (torch.tensor(44, dtype=torch.int8), 300),
    "sympy expressions": (x**2, x * y),
    "sympy expressions that agree for positive symbols": (sympy.sqrt(x**2), x),
    "sympy expressions that agree for even symbols": (sympy.floor(n / 2), n / 2),
    "a sympy number and a float": (sympy.pi, 3.1416),
    "one entry of sympy matrices": (sympy.Matrix([[x, 1]]), sympy.Matrix([[x, 2]])),
}

REFUSED = {
    "shapes that would broadcast": (ONES, ONES[0].clone(), ValueError, r"left has shape \(2, 3\), right \(3,\)"),
    "a number beside a vector": (ONES, 1.0, ValueError, "equal shapes"),
    "tensors of unequal dtype": (ONES, ONES.float(), TypeError, "left has dtype float64, right has float32"),
    "tensor and array of unequal dtype": (ONES, np.ones((2, 3), np.float32), TypeError, "equal dtypes"),
    "arrays of unequal dtype": (np.arange(2), np.arange(2.0), TypeError, "equal dtypes"),
    "NaN": (ONES, ONES * float("nan"), ValueError, r"right holds NaN or inf, first at index \[0, 0\]"),
    "inf": (np.array([1.0, np.inf]), np.ones(2), ValueError, r"left holds NaN or inf, first at index \[1\]"),
    "inf on both sides": (float("inf"), float("inf"), ValueError, "NaN or inf"),
    "NaN in Python": (1.0, float("nan"), ValueError, "NaN or inf"),
    "a complex NaN": (complex(0, float("nan")), 0j, ValueError, "NaN or inf"),
    "a number beyond the dtype's range": (torch.tensor(1.0), 1e300, ValueError, "as float32"),
    "an integer beyond any float": (1.0, 10**400, ValueError, "right holds a number too large for float64"),
    "an empty tensor": (torch.ones(0, 3), torch.ones(0, 3), ValueError, "left is empty"),
    "an empty list": ([], [], ValueError, "left is empty"),
    "an empty sympy matrix": (sympy.Matrix(0, 0, []), sympy.Matrix(0, 0, []), ValueError, "left is empty"),
    "a meta tensor": (ONES, ONES.to("meta"), ValueError, "right is a meta tensor"),
    "a sparse tensor": (ONES.to_sparse(), ONES.clone(), TypeError, "left has layout torch.sparse_coo"),
    "a dtype without a tolerance": (np.array(["a"]), np.array(["a"]), TypeError, "left has dtype str32"),
    "an array of objects": (np.array([None]), np.array([None]), TypeError, "left has dtype object"),
    "text": ("a", "a", TypeError, "left is a str"),
    "nothing": (None, 1, TypeError, "left is a NoneType"),
    "a list of tensors": ([torch.tensor(1.0)], [1.0], TypeError, r"left\[0\] is a Tensor.*stack"),
    "a ragged list": ([[1], [1, 2]], 1, ValueError, "left holds sequences of unequal shapes"),
    "a float beside integers": (torch.tensor(3), 3.0, TypeError, "int64 cannot hold a float"),
    "an integer beside booleans": (torch.tensor(True), 2, TypeError, "bool cannot hold a int"),
    "a complex number beside reals": (torch.tensor(1.0), 1 + 0j, TypeError, "float32 cannot hold a complex"),
    "sympy beside a tensor": (torch.tensor(1.0), sympy.Integer(1), TypeError, "float32 cannot hold"),
    "sympy's infinity": (sympy.oo, sympy.oo, ValueError, "left is oo"),
    "sympy's NaN": (sympy.nan, 1, ValueError, "left is nan"),
    "infinity in a sympy matrix": (sympy.Matrix([1, sympy.zoo]), sympy.Matrix([1, 1]), ValueError, "is zoo"),
    "symbols beside floats": (0.1 * x + 0.2 * x, sympy.Rational(3, 10) * x, ValueError, "no symbols"),
    "a matrix of symbolic size": (sympy.MatrixSymbol("A", n, n), sympy.MatrixSymbol("A", n, n), ValueError, "symbolic"),
    "unknown sympy functions": (sympy.Function("f")(x), sympy.Function("g")(x), ValueError, "cannot decide"),
    "a sympy identity for integers only": (
        sympy.floor(n / 2) + sympy.floor((n + 1) / 2),
        n,
        ValueError,
        "cannot decide",
    ),
}


@pytest.mark.parametrize("sides", EQUAL.values(), ids=EQUAL)
def test_equal_sides_pass_the_check_and_are_not_refuted(sides):
    assert passes(check, *sides)
    assert not passes(refute, *sides)


@pytest.mark.parametrize("sides", DIFFERENT.values(), ids=DIFFERENT)
def test_different_sides_fail_the_check_and_are_refuted_either_way_round(sides):
    left, right = sides
    for pair in ((left, right), (right, left)):
        assert not passes(check, *pair)
        assert passes(refute, *pair)


@pytest.mark.parametrize(("left", "right", "error", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("function", [check, refute])
def test_sides_that_cannot_be_compared_are_refused(function, left, right, error, message):
    with pytest.raises(error, match=message if function is check else message.replace("left", "wrong")):
        passes(function, left, right)


def array():
    return np.arange(16.0).reshape(4, 4)


def tensor():
    return torch.ones(4, 4)


SHARED = {
    "one tensor": (tensor, lambda t: (t, t)),
    "a tensor and its transpose": (tensor, lambda t: (t, t.T)),
    "two rows of one tensor": (tensor, lambda t: (t[0], t[1])),
    "a tensor and itself detached": (tensor, lambda t: (t, t.detach())),
    "a tensor and its array": (tensor, lambda t: (t[1], t.numpy()[2])),
    "an array and its tensor": (array, lambda a: (a[0], torch.from_numpy(a)[1])),
    "an array and the tensor of a part of it": (array, lambda a: (torch.from_numpy(a[1:])[0], a[2])),
    "two views of one array": (array, lambda a: (a[0], a[::-1][0])),
    "two windows on one array": (array, lambda a: np.lib.stride_tricks.sliding_window_view(a[0], 2)[::2]),
    "one list": (lambda: [1, 2], lambda items: (items, items)),
}


@pytest.mark.parametrize(("make", "sides"), SHARED.values(), ids=SHARED)
@pytest.mark.parametrize("function", [check, refute])
def test_one_storage_on_both_sides_is_refused(function, make, sides):
    with pytest.raises(ValueError, match="share their storage"):
        passes(function, *sides(make()))


@pytest.mark.parametrize(
    ("dtype", "rounding", "meaningful"),
    [
        (torch.float64, 1e-9, 1e-6),
        (torch.complex128, 1e-9, 1e-6),
        (torch.float32, 1e-5, 1e-2),
        (torch.complex64, 1e-5, 1e-2),
        (torch.float16, 1e-2, 1e-1),
        (torch.bfloat16, 5e-2, 3e-1),
    ],
    ids=str,
)
def test_each_dtype_has_a_difference_for_rounding_and_one_that_counts(dtype, rounding, meaningful):
    one = torch.tensor(1.0, dtype=dtype)
    assert passes(check, one, one + 0.8 * rounding)
    assert not passes(check, one, one + 1.4 * rounding)
    assert not passes(refute, one, one + 0.8 * meaningful)
    assert passes(refute, one, one + 1.8 * meaningful)


@pytest.mark.parametrize(
    ("dtype", "share"),
    [
        (torch.float64, 1e-12),
        (torch.complex128, 1e-12),
        (torch.float32, 1e-6),
        (torch.complex64, 1e-6),
        (torch.float16, 1e-3),
        (torch.bfloat16, 5e-3),
    ],
    ids=str,
)
def test_each_dtype_allows_an_entry_near_zero_a_share_of_the_largest_entry(dtype, share):
    right = torch.tensor([8.0, 0.0], dtype=dtype)
    assert passes(check, torch.tensor([8.0, 8 * 0.9 * share], dtype=dtype), right)
    assert not passes(check, torch.tensor([8.0, 8 * 1.1 * share], dtype=dtype), right)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("sign", ["", "u"])
def test_integers_of_every_size_are_compared_exactly(sign, bits):
    three, four = (torch.tensor(number, dtype=getattr(torch, f"{sign}int{bits}")) for number in (3, 4))
    assert passes(check, three, 3)
    assert not passes(check, three, four)


def test_a_side_of_zeros_is_compared_on_the_scale_of_one():
    assert passes(check, 0.9e-12, 0.0)
    assert not passes(check, 0.0, 1.1e-12)
    assert not passes(refute, 0.9e-9, 0.0)
    assert passes(refute, 0.0, 1.1e-9)


def test_a_tolerance_on_request_is_tighter_or_looser():
    assert not passes(check, 1.0, 1 + 1e-10, rtol=1e-12)
    assert not passes(check, 0.1 + 0.2, 0.3, rtol=0)
    assert passes(check, 1.0, 1.01, rtol=0.02)
    assert passes(check, 1.0, 1.01, atol=0.02)
    assert not passes(check, 1.0, 1.01, rtol=0, atol=0.005)
    assert not passes(refute, 1.0, 1.01, rtol=0.02)
    assert not passes(refute, 1.0, 1.01, atol=0.02)
    assert passes(refute, 1.0, 1 + 1e-8, rtol=3e-9)


def test_no_tolerance_on_request_lets_rounding_refute():
    assert not passes(refute, 0.1 + 0.2, 0.3, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rtol", 1.0), ("rtol", -1e-9), ("rtol", float("nan")), ("atol", -1e-9), ("atol", float("inf"))],
)
def test_a_tolerance_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        passes(check, 1.0, 1.0, **{name: value})


@pytest.mark.parametrize("sides", [(1, 1), (torch.tensor(1), 1), (x, x)])
@pytest.mark.parametrize("tolerance", [{"rtol": 0.1}, {"atol": 0.1}])
def test_exact_sides_take_no_tolerance(sides, tolerance):
    with pytest.raises(ValueError, match="no tolerance"):
        passes(check, *sides, **tolerance)


def test_a_failed_check_names_tag_largest_error_index_values_tolerance_and_text():
    left = torch.zeros(2, 3, dtype=torch.float64)
    right = left.clone()
    right[0, 1], right[1, 2] = 0.25, -0.5
    with pytest.raises(AssertionError) as failure:
        check("FW.4", left, right, "reading the memory", rtol=1e-3)
    message = str(failure.value)
    assert message.startswith("FW.4: left and right are not equal")
    assert "largest error 0.5 at index [1, 2], where left is 0.0 and right is -0.5" in message
    assert "the tolerance there is 0.000501" in message
    assert "2 of 6 entries differ (reading the memory)" in message


def test_a_failed_check_names_the_largest_error_beyond_tolerance_not_a_larger_one_within():
    with pytest.raises(AssertionError, match=r"index \[1\], where left is 2.0 and right \(as float64\) is 1.0"):
        check("FW.4", np.array([1e12, 2.0]), [1e12 + 10, 1.0], "the sides", rtol=1e-10)


def test_a_failed_symbolic_check_shows_the_difference():
    with pytest.raises(
        AssertionError, match=r"largest error x - y at index \[0, 1\], where left is x and right is y; the tol.* is 0;"
    ):
        check("FW.4", sympy.Matrix([[1, x]]), sympy.Matrix([[1, y]]), "the sides")


def test_a_failed_refutation_names_tag_largest_difference_index_values_and_tolerance():
    with pytest.raises(AssertionError) as failure:
        refute("FW.E1", np.array([1.0, 2.0]), np.array([1.0, 2.0 + 2**-30]), "the wrong decay")
    message = str(failure.value)
    assert message.startswith("FW.E1: wrong and right do not differ: largest error 9.31e-10 at index [1]")
    assert (
        "where wrong is 2.0 and right is 2.0000000009313226; the tolerance there is 2e-06 (the wrong decay)" in message
    )


def test_a_passing_pair_prints_one_line_of_mark_tag_and_text(capsys):
    check("FW.4a", 0.1 + 0.2, 0.3, "adding = adding")
    refute("FW.E12", 1, 2, "one is not two")
    assert capsys.readouterr().out == "✓ FW.4a adding = adding\n✗ FW.E12 one is not two\n"


def test_a_failing_pair_prints_nothing(capsys):
    assert not passes(check, 1, 2)
    assert not passes(refute, 1, 1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("tag", ["", "FW", "FW.", "fw.4", "FW.4ab", "FW.4 ", "FW.4.1", "FW.E1", "4", "FW.x", "FW.٤"])
def test_a_malformed_tag_is_refused_by_check(tag):
    with pytest.raises(ValueError, match=r"expected the form of 'FW\.4'"):
        check(tag, 1, 1, "one is one")


@pytest.mark.parametrize("tag", ["", "FW.1", "FW.E", "FW.e1", "E1", "FW.E1 "])
def test_a_malformed_tag_is_refused_by_refute(tag):
    with pytest.raises(ValueError, match=r"expected the form of 'FW\.E1'"):
        refute(tag, 1, 2, "one is not two")


@pytest.mark.parametrize("text", ["", "  ", "one\ntwo", "one\n", "one\u2028two", " one"])
@pytest.mark.parametrize(("function", "tag"), [(check, "FW.4"), (refute, "FW.E1")])
def test_text_that_is_not_one_line_is_refused(function, tag, text):
    with pytest.raises(ValueError, match="expected one line of text"):
        function(tag, 1, 1, text)


@pytest.mark.parametrize(("tag", "text"), [(4, "text"), ("FW.4", None)])
def test_tag_and_text_must_be_strings(tag, text):
    with pytest.raises(TypeError, match="tag and text must be strings"):
        check(tag, 1, 1, text)
