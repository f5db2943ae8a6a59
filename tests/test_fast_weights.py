"""The fast-weights layer against a loop that follows the paper's equations one number at a time."""

import copy
import inspect
import io
import pickle
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


def trained(output, model):
    """Gradients of one scalar of the output, by name."""
    model.zero_grad()
    output.sin().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# Precision


@pytest.mark.parametrize("decay", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_weights_still_form_the_geometric_series(dtype, decay):
    ones = torch.ones(1, 300, 1, dtype=dtype)
    series = 0.5 * (1 - decay**300) / (1 - decay)
    for result in (attend(ones, ones[:, 0], decay, 0.5), fast_matrix(ones[0], decay, 0.5)):
        assert result.dtype == dtype
        assert result.item() == pytest.approx(series, rel=torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_functions_are_exact_up_to_a_few_roundings(dtype):
    past, query = double(1, 300, 8).to(dtype), double(1, 8, seed=1).to(dtype)
    A = np.zeros((8, 8))
    for h in past[0].double().numpy():
        A = 0.99 * A + 0.5 * np.outer(h, h)
    expected = [A @ query[0].double().numpy(), A]
    for result, value in zip(
        [attend(past, query, 0.99, 0.5)[0], fast_matrix(past[0], 0.99, 0.5)], expected, strict=True
    ):
        error = np.linalg.norm(result.double().numpy() - value) / np.linalg.norm(value)
        assert error < torch.finfo(dtype).eps


@pytest.mark.parametrize("form", ["attention", "matrix"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_layer_forgets_as_it_should(dtype, form):
    model = FastWeights(8, 8, decay=0.999, rate=0.1, layer_norm=False, form=form, dtype=dtype)
    vectors = double(1, 300, 8, seed=2).relu().to(dtype)  # what the layer is to hold: its first output for them
    with torch.no_grad():
        model.weight_ih.copy_(torch.eye(8))
        model.weight_hh.zero_()
    model.inner_steps = 0  # outputs are the inputs
    _, state = model(vectors)
    model.inner_steps = 1
    output, _ = model(vectors[:, :1], state)
    A = np.zeros((8, 8))
    for h in vectors[0].double().numpy():
        A = 0.999 * A + 0.1 * np.outer(h, h)
    z = vectors[0, 0].double().numpy()
    expected = np.maximum(z + A @ z, 0)
    assert output.dtype == state.hidden.dtype == dtype
    np.testing.assert_allclose(output[0, 0].detach().double().numpy(), expected, rtol=1.5 * torch.finfo(dtype).eps)
    if form == "matrix":
        np.testing.assert_allclose(state.memory[0].detach().numpy(), A, rtol=1e-4)


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_autocast_gives_its_dtype_and_numbers_close_to_float32(form):
    model, x = FastWeights(3, 5, form=form), double(2, 6, 3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = model(x)
        later, _ = model(x.bfloat16(), state)
    assert output.dtype == later.dtype == state.hidden.dtype == torch.bfloat16  # as torch.nn.LSTM
    assert form == "attention" or state.memory.dtype == torch.bfloat16  # rounded at every write, as documented
    expected, state = model(x)
    torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.1)
    torch.testing.assert_close(later.float(), model(x, state)[0], rtol=0.1, atol=0.1)


def test_under_autocast_the_attention_form_keeps_its_weights_in_float32():
    ones = torch.ones(1, 300, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = attend(ones, ones[:, 0], 0.999, 0.5)
    assert result.item() == pytest.approx(0.5 * (1 - 0.999**300) / 0.001, rel=1e-5)


# States


@pytest.mark.parametrize("form", ["attention", "matrix"])
@pytest.mark.parametrize(
    ("part", "change", "error", "words"),
    [
        ("hidden", lambda t: t.double(), TypeError, "state.hidden is torch.float64, the parameters are torch.float32"),
        (
            "hidden",
            lambda t: t.bfloat16(),
            TypeError,
            "state.hidden is torch.bfloat16, the parameters are torch.float32",
        ),
        ("memory", lambda t: t.double(), TypeError, "state.memory is torch.float64, the .* torch.float32"),
        ("memory", lambda t: t.half(), TypeError, "state.memory is torch.float16, the .* torch.float32"),
        ("hidden", lambda t: t.to("meta"), ValueError, "state.hidden is on meta, the parameters are on cpu"),
        ("memory", lambda t: t.to("meta"), ValueError, "state.memory is on meta, the .* on cpu"),
        ("hidden", lambda t: t[:1], ValueError, r"state.hidden must have shape \(2, 5\), got \(1, 5\)"),
        ("memory", lambda t: t[:1], ValueError, r"state.memory must have shape \(2, .*, 5\), got \(1, 5, 5\)"),
        ("hidden", lambda t: t[:, :4], ValueError, r"state.hidden must have shape \(2, 5\), got \(2, 4\)"),
        ("memory", lambda t: t[..., :4], ValueError, r"state.memory must have shape \(2, .*, 5\), got \(2, 5, 4\)"),
        ("hidden", lambda t: t.long(), TypeError, "state.hidden must be floating point, got torch.int64"),
        ("memory", lambda t: None, TypeError, "state.memory must be a tensor, got NoneType"),
    ],
)
def test_a_state_of_which_one_part_does_not_fit_is_refused(form, part, change, error, words):
    model, x = FastWeights(3, 5, form=form), torch.zeros(2, 5, 3)
    _, state = model(x)
    with pytest.raises(error, match=words):
        model(x, state._replace(**{part: change(getattr(state, part))}))


@pytest.mark.parametrize(("form", "other"), [("attention", "matrix"), ("matrix", "attention")])
def test_a_state_of_the_other_form_is_refused_even_where_its_shape_fits(form, other):
    x = torch.zeros(2, 5, 3)  # five vectors of five units have the shape of the matrix
    _, state = FastWeights(3, 5, form=other)(x)
    model = FastWeights(3, 5, form=form)
    own = type(model(x)[1]).__name__
    with pytest.raises(TypeError, match=f"state is a {type(state).__name__}, form='{form}' takes a {own}"):
        model(x, state)
    with pytest.raises(TypeError, match=f"state must be a {own} or None, got tuple"):
        model(x, tuple(state))


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_a_state_from_under_autocast_is_refused_elsewhere(form):
    model, x = FastWeights(3, 5, form=form), torch.zeros(2, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, state = model(x)
    with pytest.raises(TypeError, match=r"state.hidden is torch.bfloat16, the parameters are torch.float32"):
        model(x, state)
    with pytest.raises(TypeError, match=r"input is torch.bfloat16, the parameters are torch.float32"):
        model(x.bfloat16())
    model(x, type(state)(*(part.float() for part in state)))  # the caller converts


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_under_autocast_a_state_of_any_lower_precision_works(form):
    model, x = FastWeights(3, 5, form=form), double(2, 4, 3).float()
    _, state = model(x)
    expected = model(x, state)[0]
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, _ = model(x.to(dtype), type(state)(*(part.to(dtype) for part in state)))
        torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_what_autocast_leaves_alone_is_refused_under_it(form):
    model, x = FastWeights(3, 5, form=form), torch.zeros(2, 4, 3)
    _, state = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(TypeError, match=r"input is torch.float64, the parameters are torch.float32"):
            model(x.double())
        with pytest.raises(TypeError, match=r"state.hidden is torch.float64, the parameters are torch.float32"):
            model(x, type(state)(*(part.double() for part in state)))
        with pytest.raises(TypeError, match=r"input is torch.float32, the parameters are torch.float64"):
            FastWeights(3, 5, form=form, dtype=torch.float64)(x)


def test_past_and_query_of_two_kinds_are_refused():
    past = torch.zeros(2, 3, 4)
    with pytest.raises(TypeError, match=r"query is torch.float64, past is torch.float32"):
        attend(past, torch.zeros(2, 4, dtype=torch.float64), 0.9, 0.5)
    with pytest.raises(ValueError, match="query is on meta, past is on cpu"):
        attend(past, torch.zeros(2, 4, device="meta"), 0.9, 0.5)
    with pytest.raises(TypeError, match=r"input is torch.float64, the parameters are torch.float32"):
        FastWeights(3, 5, device="meta")(torch.zeros(2, 4, 3, device="meta", dtype=torch.float64))


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_a_detached_state_cuts_the_gradient_between_two_pieces(form):
    model, x = layer(form=form), double(2, 8, 3)
    first, state = model(x[:, :5])
    trained(first, model)
    with pytest.raises(RuntimeError, match="a second time"):
        trained(model(x[:, 5:], state)[0], model)
    cut = state.detach()
    assert type(cut) is type(state)
    assert not any(part.requires_grad for part in cut)
    gradients = trained(model(x[:, 5:], cut)[0], model)
    alone = type(state)(*(torch.from_numpy(part.detach().numpy().copy()) for part in state))  # numbers, no history
    for name, gradient in trained(model(x[:, 5:], alone)[0], model).items():
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=0)
    before = model(x[:, 5:], alone)[0].sin().sum().item()
    with torch.no_grad():
        model.bias[2] += 1e-6
    slope = (model(x[:, 5:], alone)[0].sin().sum().item() - before) / 1e-6
    assert gradients["bias"][2].item() == pytest.approx(slope, rel=1e-4)


def test_a_state_made_in_inference_mode_cannot_be_trained_on_as_with_torchs_lstm():
    x = double(2, 4, 3).float()
    for model in (FastWeights(3, 5), torch.nn.LSTM(3, 5, batch_first=True)):
        with torch.inference_mode():
            _, state = model(x)
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            model(x, state)
        with torch.no_grad():
            _, state = model(x)
        model(x, state)[0].sum().backward()


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_layer_and_state_survive_copies_pickles_and_files(form):
    model, x = layer(form=form), double(2, 4, 3)
    state = model(x)[1].detach()
    expected = model(x, state)[0]
    file = io.BytesIO()
    torch.save(tuple(state), file)
    file.seek(0)
    states = copy.deepcopy(state), pickle.loads(pickle.dumps(state)), type(state)(*torch.load(file))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for again in states:
            torch.testing.assert_close(twin(x, again)[0], expected, rtol=0, atol=0)
    other = layer(form="matrix" if form == "attention" else "attention")
    other.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})  # strict
    torch.testing.assert_close(other.bias, model.bias + 1)


# Odd input


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_an_empty_batch_passes_through(form):
    model = FastWeights(3, 5, form=form)
    output, state = model(torch.zeros(0, 4, 3))
    output, _ = model(torch.zeros(0, 2, 3), state)
    assert output.shape == (0, 2, 5)
    output.sum().backward()
    assert not model.weight_hh.grad.any()


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_the_order_in_memory_does_not_matter(form):
    model, x = layer(form=form), double(2, 6, 3)
    expected, state = model(x)
    for view in (x.transpose(0, 1).contiguous().transpose(0, 1), torch.stack((x, x), -1)[..., 0]):
        assert not view.is_contiguous()
        torch.testing.assert_close(model(view)[0], expected)
    turned = type(state)(*(part.mT.contiguous().mT for part in state))
    torch.testing.assert_close(model(x, turned)[0], model(x, state)[0])


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_a_frozen_layer_passes_gradients_to_input_and_state(form):
    model, x = layer(form=form).requires_grad_(False), double(1, 3, 3)
    state = model(x)[1]
    hidden, memory = (part.clone().requires_grad_() for part in state)

    def outputs(x, hidden, memory):
        return model(x, type(state)(hidden, memory))[0]

    assert torch.autograd.gradcheck(outputs, (x.requires_grad_(), hidden, memory))


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_a_batch_can_be_cut_together_with_its_state(form):
    """What data parallelism does: everything carries the batch first."""
    model, x = layer(form=form), double(5, 4, 3)
    whole, state = model(x, model(x)[1])
    parts = [model(part, model(part)[1]) for part in x.split([2, 3])]
    torch.testing.assert_close(torch.cat([output for output, _ in parts]), whole)
    for i in range(2):
        torch.testing.assert_close(torch.cat([part[i] for _, part in parts]), state[i])


# Transformations of torch


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_second_derivatives_equal_finite_differences(form):
    model = layer(form=form)
    assert torch.autograd.gradgradcheck(lambda x: model(x)[0].sin(), double(1, 3, 3).requires_grad_())


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_gradients_per_example_equal_those_of_batches_of_one(form):
    model, x = layer(form=form), double(3, 4, 3)
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x.unsqueeze(0),))[0].sin().sum()

    together = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for i in range(3):
        for name, gradient in trained(model(x[i : i + 1])[0], model).items():
            torch.testing.assert_close(together[name][i], gradient)


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_vmap_over_models_and_states_equals_a_loop(form):
    models, x = [layer(form=form), layer(form=form)], double(2, 4, 3)
    with torch.no_grad():
        models[1].weight_ih.mul_(-1)
    stacked, _ = torch.func.stack_module_state(models)

    def run(parameters, x, state=None):
        return torch.func.functional_call(models[0], parameters, (x, state))

    _, states = torch.vmap(run, in_dims=(0, None))(stacked, x)
    outputs, _ = torch.vmap(run, in_dims=(0, None, 0))(stacked, x, states)
    for model, output in zip(models, outputs, strict=True):
        torch.testing.assert_close(output, model(x, model(x)[1])[0])


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")  # torch says so of that one release
@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_compiled_as_one_graph_it_gives_the_same_outputs_and_gradients(form):
    torch.compiler.reset()
    model, x = layer(form=form), double(2, 2, 3)

    def two_pieces(x):
        return model(x, model(x)[1])

    output, state = torch.compile(two_pieces, fullgraph=True, backend="aot_eager")(x)
    expected, expected_state = two_pieces(x)
    torch.testing.assert_close((output, *state), (expected, *expected_state))
    assert type(state) is type(expected_state)
    torch.testing.assert_close(trained(output, model), trained(expected, model))


@pytest.mark.parametrize("form", ["attention", "matrix"])
def test_exported_with_a_state_it_takes_any_batch(form):
    model, x = layer(form=form), double(2, 3, 3)
    batch = {0: torch.export.Dim("batch", min=2)}
    state = model(x)[1].detach()
    program = torch.export.export(model, (x, state), dynamic_shapes=(batch, type(state)(batch, batch))).module()
    x = double(7, 3, 3, seed=1)
    state = model(x)[1].detach()
    torch.testing.assert_close(program(x, state)[0], model(x, state)[0])


# Construction


def test_device_and_dtype_are_the_last_arguments_as_for_torchs_layers():
    ours, torchs = (list(inspect.signature(cls).parameters) for cls in (FastWeights, torch.nn.LayerNorm))
    assert ours[-2:] == torchs[-2:] == ["device", "dtype"]


def test_every_parameter_is_made_with_the_dtype_and_on_the_device():
    model = FastWeights(3, 5, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.float64)}
    with torch.device("meta"):
        assert all(p.is_meta for p in FastWeights(3, 5).parameters())
        assert not any(p.is_meta for p in FastWeights(3, 5, device="cpu").parameters())
    output, state = FastWeights(3, 5, dtype=torch.float64)(double(2, 4, 3))
    assert output.dtype == state.memory.dtype == torch.float64


def test_a_layer_without_initialisation_is_initialised_later():
    for empty in (
        torch.nn.utils.skip_init(FastWeights, 3, 5),
        FastWeights(3, 5, device="meta").to_empty(device="cpu"),
    ):
        for p in empty.parameters():
            torch.nn.init.constant_(p, 7)
        torch.manual_seed(0)
        empty.reset_parameters()
        torch.manual_seed(0)
        for p, expected in zip(empty.parameters(), FastWeights(3, 5).parameters(), strict=True):
            torch.testing.assert_close(p, expected, rtol=0, atol=0)
