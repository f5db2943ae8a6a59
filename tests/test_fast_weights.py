"""The fast-weights layer against a loop that follows the paper's equations one number at a time."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workedpapers.fast_weights import FastWeights, FastWeightsState, attend, fast_matrix

COMBINATIONS = list(
    product(["after", "delayed", "preliminary"], [0, 1, 3], [(False, False), (True, False), (True, True)])
)

RATE = {True: 0.3, False: 0.01}  # without layer norm, larger ones blow up within a few steps


def double(*sizes, seed=0):
    return torch.randn(*sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer(write="after", inner_steps=1, norms=(True, False), form="attention"):
    torch.manual_seed(1)
    model = FastWeights(
        3,
        5,
        write=write,
        inner_steps=inner_steps,
        layer_norm=norms[0],
        norm_preliminary=norms[1],
        form=form,
        decay=0.8,
        rate=RATE[norms[0]],
    ).double()
    with torch.no_grad():  # away from the special values of the initialisation
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.3 * double(*parameter.shape, seed=i))
    return model


def numpy_outputs(model, x, *, write, inner_steps, norms):
    """The definition, example by example, with matrices spelled out as sums of outer products."""
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}

    def norm(v):
        v = (v - v.mean()) / np.sqrt(((v - v.mean()) ** 2).mean() + 1e-5)
        return v * p["norm.weight"] + p["norm.bias"]

    outputs = np.zeros((*x.shape[:2], 5))
    for b, sequence in enumerate(x.numpy()):
        h, outs, preliminary = np.zeros(5), [], []
        for x_t in sequence:
            z = p["weight_hh"] @ h + p["weight_ih"] @ x_t + p["bias"]
            h_s = np.maximum(norm(z) if norms == (True, True) else z, 0)
            preliminary.append(h_s)
            held = {"after": outs, "delayed": outs[:-1], "preliminary": preliminary}[write]
            A = np.zeros((5, 5))
            for age, v in enumerate(reversed(held)):
                A += model.rate * model.decay**age * np.outer(v, v)
            for _ in range(inner_steps):
                h_s = np.maximum(norm(z + A @ h_s) if norms[0] else z + A @ h_s, 0)
            h = h_s
            outs.append(h)
        outputs[b] = outs
    return outputs


@pytest.mark.parametrize(("write", "inner_steps", "norms"), COMBINATIONS)
@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_outputs_follow_the_definition(write, inner_steps, norms, form):
    model, x = layer(write, inner_steps, norms, form), double(2, 6, 3)
    expected = numpy_outputs(model, x, write=write, inner_steps=inner_steps, norms=norms)
    np.testing.assert_allclose(model(x)[0].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("write", "inner_steps", "norms"), COMBINATIONS)
def test_both_forms_have_the_same_outputs_and_gradients(write, inner_steps, norms):
    results = []
    for form in ("attention", "matrix"):
        model = layer(write, inner_steps, norms, form)
        x = double(3, 7, 3).requires_grad_()
        output, _ = model(x)
        output.sin().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        results.append([output, x.grad, *gradients])
    assert len(results[0]) == len(results[1]) > 4
    for attention, matrix in zip(*results, strict=True):
        torch.testing.assert_close(attention, matrix, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("write", ["after", "delayed", "preliminary"])
@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_a_sequence_in_pieces_equals_the_sequence_in_one(write, form):
    model, x = layer(write, 2, (True, True), form), double(2, 14, 3)
    whole, whole_state = model(x)
    for cuts in ([1, 13], [2, 12], [13, 1], [1, 1, 1, 11]):  # 13 steps: more than the layer has units
        pieces, state = [], None
        for piece in x.split(cuts, 1):
            output, state = model(piece, state)
            pieces.append(output)
        torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state.hidden, whole_state.hidden)
        torch.testing.assert_close(state.memory, whole_state.memory)


@pytest.mark.parametrize("form", ["attention", "matrix"])
@pytest.mark.parametrize("write", ["after", "delayed", "preliminary"])
def test_gradients_equal_finite_differences(write, form):
    model, x = layer(write, 2, (True, True), form), double(2, 4, 3).requires_grad_()
    names = [name for name, _ in model.named_parameters()]

    def outputs(x, *values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))[0]

    assert torch.autograd.gradcheck(outputs, (x, *model.parameters()))


@given(time=st.integers(0, 6), decay=st.floats(0, 1), rate=st.floats(-2, 2), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_attending_equals_the_recursion_of_the_matrix(time, decay, rate, seed):
    past, query = double(2, time, 4, seed=seed), double(2, 4, seed=seed + 100)
    for b in range(2):
        A = torch.zeros(4, 4, dtype=torch.float64)
        for h in past[b]:
            A = decay * A + rate * h.unsqueeze(1) * h
        torch.testing.assert_close(fast_matrix(past[b], decay, rate), A, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(attend(past, query, decay, rate)[b], A.mv(query[b]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_without_inner_steps_it_is_torchs_relu_network(form):
    model = layer(inner_steps=0, norms=(False, False), form=form)
    reference = torch.nn.RNN(3, 5, nonlinearity="relu", batch_first=True).double()
    with torch.no_grad():
        reference.weight_ih_l0.copy_(model.weight_ih)
        reference.weight_hh_l0.copy_(model.weight_hh)
        reference.bias_ih_l0.copy_(model.bias)
        reference.bias_hh_l0.zero_()
    x = double(2, 6, 3)
    torch.testing.assert_close(model(x)[0], reference(x)[0])


def test_after_at_one_step_is_delayed_a_step_later_for_the_same_sequence():
    hidden, query = double(1, 6, 4), double(1, 4)
    for t in range(1, 7):
        after = attend(hidden[:, :t], query, 0.9, 0.5)
        A = torch.zeros(4, 4, dtype=torch.float64)  # the delayed update: A(t+1) = decay A(t) + rate h(t) h(t)ᵀ
        for h in hidden[0, :t]:
            A = 0.9 * A + 0.5 * torch.outer(h, h)
        torch.testing.assert_close(after[0], A @ query[0])


def test_first_output_is_untouched_by_the_memory_unless_it_is_written_first():
    x = double(4, 1, 3)
    outputs = {
        (write, steps): layer(write, steps, (False, False))(x)[0]
        for write in ("after", "delayed", "preliminary")
        for steps in (0, 1)
    }
    for write in ("after", "delayed"):
        torch.testing.assert_close(outputs[write, 1], outputs[write, 0])
    assert (outputs["preliminary", 1] - outputs["preliminary", 0]).abs().max() > 0.1


def test_initialisation_is_the_papers_with_its_misprint_put_right():
    torch.manual_seed(0)
    model = FastWeights(300, 64)
    torch.testing.assert_close(model.weight_hh, 0.05 * torch.eye(64))
    assert 0.99 / 8 < model.weight_ih.abs().max() <= 1 / 8
    assert abs(model.weight_ih.std() - 1 / 8 / 3**0.5) < 0.002
    assert not model.bias.any()
    assert model.norm.weight.eq(1).all()
    assert not model.norm.bias.any()
    assert (model.decay, model.rate, model.inner_steps, model.write, model.form) == (
        0.95,
        0.5,
        1,
        "after",
        "attention",
    )
    assert not model.norm_preliminary
    assert [name for name, _ in model.named_parameters()] == [
        "weight_ih",
        "weight_hh",
        "bias",
        "norm.weight",
        "norm.bias",
    ]


def test_reset_parameters_resets_the_norm():
    model = layer()
    model.reset_parameters()
    assert model.norm.weight.eq(1).all()
    assert not model.bias.any()


def test_state_holds_what_was_written():
    x = double(2, 4, 3)
    for write, written in (("after", 4), ("delayed", 3), ("preliminary", 4)):
        output, state = layer(write)(x)
        torch.testing.assert_close(state.hidden, output[:, -1])
        assert state.memory.shape == (2, written, 5)
        _, matrix_state = layer(write, form="matrix")(x)
        expected = torch.stack([fast_matrix(vectors, 0.8, 0.3) for vectors in state.memory])
        torch.testing.assert_close(matrix_state.memory, expected)
    output, state = layer("delayed")(x)
    torch.testing.assert_close(state.memory, output[:, :-1])


def test_representation_names_the_arguments():
    text = repr(FastWeights(3, 5, decay=0.9, write="delayed", form="matrix"))
    assert "3, 5, decay=0.9, rate=0.5, inner_steps=1, write='delayed'" in text
    assert "norm_preliminary=False, form='matrix'" in text


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"decay": 1.5}, ValueError, r"decay must lie in \[0, 1\], got 1.5"),
        ({"decay": -0.1}, ValueError, "decay"),
        ({"decay": float("nan")}, ValueError, "decay"),
        ({"decay": "0.9"}, TypeError, "decay must be a number, got '0.9'"),
        ({"decay": True}, TypeError, "decay"),
        ({"rate": float("inf")}, ValueError, "rate must be finite, got inf"),
        ({"rate": None}, TypeError, "rate"),
        ({"inner_steps": -1}, ValueError, "inner_steps must be at least 0, got -1"),
        ({"inner_steps": 1.0}, TypeError, "inner_steps must be an int, got 1.0"),
        ({"inner_steps": True}, TypeError, "inner_steps"),
        ({"input_size": 0}, ValueError, "input_size must be at least 1, got 0"),
        ({"hidden_size": 0}, ValueError, "hidden_size must be at least 1, got 0"),
        ({"write": "before"}, ValueError, "write must be one of after, delayed, preliminary, got 'before'"),
        ({"form": "dense"}, ValueError, "form must be one of attention, matrix, got 'dense'"),
    ],
)
def test_bad_arguments_are_named(options, error, words):
    with pytest.raises(error, match=words):
        FastWeights(**({"input_size": 3, "hidden_size": 5} | options))


@pytest.mark.parametrize(
    ("input", "error", "words"),
    [
        (torch.zeros(2, 3), ValueError, r"input must have shape \(batch, time, 3\), got \(2, 3\)"),
        (torch.zeros(2, 4, 5), ValueError, r"input must have shape \(batch, time, 3\), got \(2, 4, 5\)"),
        (torch.zeros(2, 0, 3), ValueError, "input needs at least one time step"),
        (torch.zeros(2, 4, 3, dtype=torch.long), TypeError, "input must be floating point, got torch.int64"),
        (torch.zeros(2, 4, 3).double(), TypeError, "input is torch.float64, the parameters are torch.float32"),
        ([[1.0]], TypeError, "input must be a tensor, got list"),
    ],
)
def test_bad_input_is_named(input, error, words):
    with pytest.raises(error, match=words):
        FastWeights(3, 5)(input)


def test_a_state_of_another_batch_form_or_type_is_refused():
    model, x = FastWeights(3, 5), torch.zeros(2, 4, 3)
    _, state = model(x)
    with pytest.raises(ValueError, match=r"state.hidden must have shape \(3, 5\), got \(2, 5\)"):
        model(torch.zeros(3, 4, 3), state)
    with pytest.raises(ValueError, match=r"state.memory must have shape \(2, 5, 5\), got \(2, 4, 5\)"):
        FastWeights(3, 5, form="matrix")(x, state)
    with pytest.raises(ValueError, match=r"state.memory must have shape \(2, written, 5\)"):
        model(x, FastWeightsState(state.hidden, torch.zeros(2, 5)))
    with pytest.raises(TypeError, match="state must be a FastWeightsState or None, got tuple"):
        model(x, tuple(state))


def test_bad_arguments_of_the_functions_are_named():
    with pytest.raises(ValueError, match=r"hidden must have shape \(time, H\), got \(2, 3, 4\)"):
        fast_matrix(torch.zeros(2, 3, 4), 0.9, 0.5)
    with pytest.raises(TypeError, match="hidden must be floating point"):
        fast_matrix(torch.zeros(3, 4, dtype=torch.int64), 0.9, 0.5)
    with pytest.raises(ValueError, match="decay"):
        fast_matrix(torch.zeros(3, 4), 2, 0.5)
    with pytest.raises(ValueError, match=r"query must have shape \(2, 4\), got \(2, 5\)"):
        attend(torch.zeros(2, 3, 4), torch.zeros(2, 5), 0.9, 0.5)
    with pytest.raises(ValueError, match="rate"):
        attend(torch.zeros(2, 3, 4), torch.zeros(2, 4), 0.9, float("nan"))


def test_autocast_runs_and_stays_close():
    model, x = FastWeights(3, 5), torch.randn(2, 6, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = model(x)
        model(x.bfloat16())
    torch.testing.assert_close(output.float(), model(x)[0], rtol=0.1, atol=0.1)
