"""The batch-normalised LSTM against a loop over its equations, torch's LSTM and batch norm, and finite differences."""

import copy
import inspect
import io
import math
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from workedpapers.lab.timing import saved_bytes
from workedpapers.recurrent_batch_norm import BatchNormLSTM, population_statistics

TIME, H = 6, 4
LENGTHS = [2, 6, 1, 4, 3, 6, 5, 4, 2]  # the last two steps of six have two or three sequences
FEW = [2, 6, 1, 4, 3]  # the last two have one
SIZES = [(1, 8), (2, 16), (3, 5), (7, 5), (1, 2)]  # input size and batch; one input has a short cut of its own


def double(*sizes, seed=0):
    return torch.randn(*sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer(input_size=3, max_length=TIME, tracked=TIME, training=True, dtype=torch.float64, **options):
    """Parameters and stored statistics away from their starting values; `tracked` steps have statistics."""
    torch.manual_seed(1)
    model = BatchNormLSTM(input_size, H, max_length=max_length, dtype=torch.float64, **options).train(training)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.3 * double(*parameter.shape, seed=i))
        for i, (name, buffer) in enumerate(model.named_buffers()):
            if name != "num_batches_tracked":
                buffer.copy_(0.3 * double(*buffer.shape, seed=50 + i))
                if "var" in name:
                    buffer.abs_().add_(0.2)
        model.num_batches_tracked[:tracked] = 3
    return model.to(dtype)


def reference(model, x, state=None, lengths=None, seen=None):
    """Eqs. (RBN.2), (RBN.4), (RBN.5), a step at a time, by autograd. `seen` gathers what the statistics are of."""
    time, batch, _ = x.shape
    lengths = [time] * batch if lengths is None else [int(length) for length in lengths]
    h, c = (x.new_zeros(batch, H),) * 2 if state is None else state
    last = max([0, *model.num_batches_tracked.nonzero().flatten().tolist()])
    outputs = []

    def norm(term, t, z, scale):
        if model.training and len(z) >= 2:
            mean = z.mean(0)
            var = (z - mean).square().mean(0)
            if seen is not None:
                seen.setdefault((term, t), []).append(z.detach())
        else:
            mean, var = (getattr(model, f"running_{kind}_{term}")[min(t, last)] for kind in ("mean", "var"))
        return scale * (z - mean) / torch.sqrt(var + model.eps)

    for t in range(time):
        rows = torch.tensor([b for b in range(batch) if lengths[b] > t], dtype=torch.int64)
        hidden = norm("hh", t, h[rows] @ model.weight_hh.T, model.scale_hh)
        a = hidden + norm("ih", t, x[t, rows] @ model.weight_ih.T, model.scale_ih) + model.bias
        i, f, g, o = a.chunk(4, 1)
        new_c = torch.sigmoid(f) * c[rows] + torch.sigmoid(i) * torch.tanh(g)
        normed = norm("c", t, new_c, model.scale_c) + model.bias_c if model.normalize_cell else new_c
        new_h = torch.sigmoid(o) * torch.tanh(normed)
        h, c = h.index_copy(0, rows, new_h), c.index_copy(0, rows, new_c)
        outputs.append(torch.zeros_like(h).index_copy(0, rows, new_h))
    return torch.stack(outputs), (h, c)


def values_and_gradients(function, model, x, state, lengths):
    """Output, h, c, then the gradients of all that has any, under a loss that weighs every number differently."""
    x, *state = (tensor.detach().requires_grad_() for tensor in (x, *state))
    output, (h, c) = function(x, tuple(state), lengths)
    results = [output, h, c]
    loss = sum((value * double(*value.shape, seed=90 + i).to(value.dtype)).sum() for i, value in enumerate(results))
    return [*results, *torch.autograd.grad(loss, [x, *state, *model.parameters()])]


def compare(model, x, lengths=None, **tolerances):
    state = double(x.shape[1], H, seed=31), double(x.shape[1], H, seed=32)
    statistics = copy.deepcopy(model)
    expected = values_and_gradients(lambda *args: reference(statistics, *args), statistics, x, state, lengths)
    results = values_and_gradients(model, model, x, state, lengths)
    torch.testing.assert_close(results, expected, **{"rtol": 1e-10, "atol": 1e-10, **tolerances})


# Values and gradients


@pytest.mark.parametrize("normalize_cell", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("input_size", "batch"), SIZES)
def test_values_and_gradients_follow_the_equations(input_size, batch, training, normalize_cell):
    model = layer(input_size, training=training, normalize_cell=normalize_cell)
    compare(model, 2 * double(TIME, batch, input_size, seed=3) + 1)


@pytest.mark.parametrize("normalize_cell", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lengths", [LENGTHS, FEW, [6] * 5, [1] * 5])
@pytest.mark.parametrize("input_size", [1, 3])
def test_with_lengths_only_what_still_runs_is_normalised(input_size, lengths, training, normalize_cell):
    model = layer(input_size, tracked=5, training=training, normalize_cell=normalize_cell)
    compare(model, double(TIME, len(lengths), input_size, seed=3) + 1, torch.tensor(lengths))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("statistics", ["per_step", "shared"])
@pytest.mark.parametrize("batch", [8, 3])
def test_steps_past_the_stored_ones_take_the_last_that_there_are(statistics, training, batch):
    for max_length, tracked in ((3, 3), (3, 2), (3, 0), (9, 4)):
        model = layer(1, max_length, tracked, training, statistics=statistics)
        compare(model, double(TIME, batch, 1, seed=3))
        compare(model, double(TIME, 5, 1, seed=3), torch.tensor(FEW))


@pytest.mark.parametrize("lengths", [None, FEW])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("normalize_cell", [True, False])
@pytest.mark.parametrize(("input_size", "batch"), [(1, 8), (3, 5), (7, 5)])
def test_gradients_equal_finite_differences(input_size, batch, normalize_cell, training, lengths):
    batch = batch if lengths is None else len(lengths)
    model = layer(input_size, training=training, normalize_cell=normalize_cell, momentum=0.0)
    names = [name for name, _ in model.named_parameters()]
    lengths = lengths and torch.tensor(lengths).clamp(max=3)

    def outputs(x, h, c, *values):
        output, state = functional_call(model, dict(zip(names, values, strict=True)), (x, (h, c), lengths))
        return output, *state

    inputs = double(3, batch, input_size), double(batch, H, seed=1), double(batch, H, seed=2)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(outputs, (*inputs, *model.parameters()), fast_mode=True)


def test_the_identity_as_normalisation_gives_torchs_lstm():
    for input_size, normalize_cell in ((1, True), (3, True), (3, False)):
        model = layer(input_size, training=False, normalize_cell=normalize_cell)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.fill_(1 - model.eps if "var" in name else 1 if "num" in name else 0)
            for name, parameter in model.named_parameters():
                if "scale" in name or name == "bias_c":
                    parameter.fill_("scale" in name)
        lstm = nn.LSTM(input_size, H).double()
        pairs = {"weight_ih_l0": "weight_ih", "weight_hh_l0": "weight_hh", "bias_ih_l0": "bias"}
        with torch.no_grad():
            lstm.bias_hh_l0.zero_()
            for theirs, ours in pairs.items():
                getattr(lstm, theirs).copy_(getattr(model, ours))
        x, h, c = (double(*s, seed=3).requires_grad_() for s in ((TIME, 8, input_size), (8, H), (8, H)))
        lengths = torch.tensor(LENGTHS[:8])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        expected, (last_h, last_c) = lstm(packed, (h.unsqueeze(0), c.unsqueeze(0)))
        expected = [nn.utils.rnn.pad_packed_sequence(expected)[0], last_h[0], last_c[0]]
        output, state = model(x, (h, c), lengths)
        torch.testing.assert_close([output, *state], expected, rtol=1e-10, atol=1e-10)
        results = []
        for values, parts in (
            ([output, *state], [getattr(model, name) for name in pairs.values()]),
            (expected, [getattr(lstm, name) for name in pairs]),
        ):
            loss = sum((value * double(*value.shape, seed=9)).sum() for value in values)
            results.append(torch.autograd.grad(loss, [x, h, c, *parts]))
        torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_the_order_of_the_examples_does_not_matter(lengths):
    x, order = double(TIME, 9, 1), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    results = []
    for rows in (torch.arange(9), order):
        model = layer(1)
        output, (h, c) = model(x[:, rows], lengths=None if lengths is None else torch.tensor(lengths)[rows])
        output.sin().sum().backward()
        results.append([output[:, rows.argsort()], h[rows.argsort()], c[rows.argsort()], model.weight_hh.grad])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(("input_size", "batch"), [(1, 8), (3, 5)])
@pytest.mark.parametrize("training", [True, False])
def test_no_state_is_a_state_of_zeros(input_size, batch, training):
    x, zeros = double(TIME, batch, input_size), torch.zeros(batch, H).double()
    model = layer(input_size, training=training, momentum=0.0)
    torch.testing.assert_close(model(x), model(x, (zeros, zeros)))


def test_in_evaluation_a_batch_of_one_gives_what_the_example_gives_among_others():
    model, x = layer(1, training=False), double(TIME, 8, 1)
    torch.testing.assert_close(model(x[:, :1])[0], model(x)[0][:, :1], rtol=1e-12, atol=1e-12)


def test_gradients_of_one_result_alone_are_those_of_all_with_zeros_for_the_rest():
    for chosen in range(3):
        model, twin = layer(1), layer(1)
        flat = [(output, h, c) for output, (h, c) in (model(double(TIME, 8, 1)), reference(twin, double(TIME, 8, 1)))]
        gradients = [
            torch.autograd.grad(results[chosen].sin().sum(), list(m.parameters()), allow_unused=True)
            for results, m in zip(flat, (model, twin), strict=True)
        ]
        torch.testing.assert_close(
            gradients[0], [v if v is not None else torch.zeros(H).double() for v in gradients[1]]
        )


# Statistics


@pytest.mark.parametrize(("input_size", "batch"), [(1, 8), (3, 5)])
@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize("lengths", [None, FEW])
def test_running_statistics_are_those_of_a_batch_norm_for_every_step(input_size, batch, momentum, lengths):
    model = layer(input_size, max_length=4, momentum=momentum)
    model.reset_running_stats()
    norms = {
        (term, t): nn.BatchNorm1d(H if term == "c" else 4 * H, momentum=momentum).double()
        for term in ("ih", "hh", "c")
        for t in range(TIME)
    }
    for seed in range(3):
        x, seen = double(TIME, batch if lengths is None else len(lengths), input_size, seed=seed), {}
        ends = None if lengths is None else torch.tensor(lengths)
        reference(model, x, None, ends, seen)
        model(x, None, ends)
        for key, (values,) in seen.items():
            norms[key](values)
    for (term, t), norm in norms.items():
        if t < 4:
            for kind in ("mean", "var"):
                running = getattr(model, f"running_{kind}_{term}")[t]
                torch.testing.assert_close(running, getattr(norm, f"running_{kind}"), rtol=1e-10, atol=1e-10)
    assert model.num_batches_tracked.tolist() == [3] * 4


def test_a_step_on_which_one_sequence_runs_leaves_its_statistics_alone():
    model = layer(3)
    before = copy.deepcopy(model.state_dict())
    model(double(TIME, 5, 3), lengths=torch.tensor(FEW))
    for name, buffer in model.named_buffers():
        changed = (buffer != before[name]).flatten(1).any(1) if buffer.dim() > 1 else buffer != before[name]
        assert changed.tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("statistics", ["per_step", "shared"])
def test_one_step_counts_and_a_batch_without_two_sequences_does_not(statistics):
    model = layer(3, statistics=statistics)
    before = copy.deepcopy(model.state_dict())
    model(double(TIME, 1, 3), lengths=torch.tensor([6]))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    model(double(1, 8, 3))
    values = (double(1, 8, 3)[0] @ model.weight_ih.T).detach()
    torch.testing.assert_close(model.running_mean_ih[0], 0.9 * before["running_mean_ih"][0] + 0.1 * values.mean(0))
    assert model.num_batches_tracked[0] == 4


@pytest.mark.parametrize("input_size", [1, 3])
def test_shared_statistics_are_the_average_over_the_steps(input_size):
    model, seen = layer(input_size, max_length=4, statistics="shared", momentum=0.3), {}
    x, before = double(TIME, 8, input_size), copy.deepcopy(model.state_dict())
    reference(model, x, None, None, seen)
    model(x)
    for term in ("ih", "hh", "c"):
        means = torch.stack([seen[term, t][0].mean(0) for t in range(4)]).mean(0)
        variances = torch.stack([seen[term, t][0].var(0) for t in range(4)]).mean(0)
        for name, new in ((f"running_mean_{term}", means), (f"running_var_{term}", variances)):
            torch.testing.assert_close(getattr(model, name)[0], 0.7 * before[name][0] + 0.3 * new)
    assert model.num_batches_tracked.tolist() == [4]


@pytest.mark.parametrize("statistics", ["per_step", "shared"])
@pytest.mark.parametrize("input_size", [1, 3])
def test_population_statistics_of_unequal_batches_equal_those_by_hand(statistics, input_size):
    model, seen = layer(input_size, max_length=7, statistics=statistics), {}
    batches = [
        (double(TIME, 8, input_size), None, None),
        (double(4, 3, input_size, seed=1), None, None),
        [double(TIME, 5, input_size, seed=2), None, torch.tensor(FEW)],
    ]
    for x, _, lengths in batches:
        reference(model, x, None, lengths, seen)
    parameters = copy.deepcopy(dict(model.named_parameters()))
    population_statistics(model.eval(), [batches[0][0], *batches[1:]])
    assert not model.training
    torch.testing.assert_close(dict(model.named_parameters()), parameters, rtol=0, atol=0)
    rows = [[t] for t in range(TIME)] if statistics == "per_step" else [range(TIME)]
    for term in ("ih", "hh", "c"):
        for row, steps in enumerate(rows):
            groups = [z for t in steps for z in seen[term, t]]
            count = sum(len(z) for z in groups)
            mean = sum(len(z) * z.mean(0) for z in groups) / count
            var = sum(len(z) * (z - z.mean(0)).square().mean(0) for z in groups) / sum(len(z) - 1 for z in groups)
            torch.testing.assert_close(getattr(model, f"running_mean_{term}")[row], mean)
            torch.testing.assert_close(getattr(model, f"running_var_{term}")[row], var)
    if statistics == "per_step":  # the fifth and sixth step of the last batch have one sequence, the seventh none
        assert model.num_batches_tracked.tolist() == [3, 3, 3, 3, 1, 1, 0]
        assert not model.running_mean_hh[6].any()
        assert model.running_var_hh[6].eq(1).all()
    else:
        assert model.num_batches_tracked.tolist() == [len(groups)]


class Reader(nn.Module):
    """Two layers and dropout, as a user writes them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layer(3), layer(H, max_length=3, normalize_cell=False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x, lengths=None):
        return self.second(self.dropout(self.first(x, lengths=lengths)[0]), lengths=lengths)[0]


def test_population_statistics_reach_every_layer_and_leave_modes_and_randomness_alone():
    model = Reader()
    model.second.eval()
    batch = double(TIME, 8, 3), torch.tensor(LENGTHS[:8])
    seed = torch.get_rng_state()
    population_statistics(model, [batch, batch])
    assert torch.equal(seed, torch.get_rng_state())
    assert [m.training for m in (model, model.first, model.second, model.dropout)] == [True, True, False, True]
    assert model.first.num_batches_tracked.tolist() == [2] * 6
    assert model.second.num_batches_tracked.tolist() == [2] * 3
    assert "_track" not in vars(model.first)
    model.eval()(*batch)


@pytest.mark.parametrize(
    ("model", "batches", "error", "words"),
    [
        (nn.Linear(3, 3), [], ValueError, "Linear has no layer BatchNormLSTM"),
        (layer(3), [], ValueError, "'' has seen no batch"),
        (layer(3), [(double(TIME, 1, 3), None, torch.tensor([6]))], ValueError, "has seen no batch"),
        (layer(3), [{"input": double(TIME, 8, 3)}], TypeError, "expected a tensor, or a tuple or list .* dict"),
    ],
)
def test_population_statistics_need_batches_and_a_layer_that_they_reach(model, batches, error, words):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=words):
        population_statistics(model, batches)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert model.training
    assert "_track" not in vars(model)


def test_after_population_statistics_of_one_batch_evaluation_is_training_up_to_the_unbiased_variance():
    model, x = layer(1), double(TIME, 400, 1)
    training = model(x)[0]
    population_statistics(model, [x])
    torch.testing.assert_close(model.eval()(x)[0], training, rtol=0, atol=0.03)


# Zero variance


def gain(steps, noise=0.0):
    """Of the gradient over steps on which all inputs agree, from the last cell to the first."""
    torch.manual_seed(0)
    model, x = BatchNormLSTM(1, 50, max_length=steps, dtype=torch.float64), torch.zeros(steps, 40, 1).double()
    h, c = (noise * double(40, 50, seed=i) for i in (1, 2))
    c.requires_grad_()
    end = double(40, 50, seed=3)  # a gradient that is the same for all examples is lost to batch norm
    (gradient,) = torch.autograd.grad((model(x, (h, c))[1][1] * end).sum(), c)
    return (gradient.norm() / end.norm()).item()


@pytest.mark.parametrize(("normalize_cell", "expected"), [(True, 250.73), (False, 8.64)])
def test_the_gain_of_a_dead_step_is_the_papers_start_times_two_norms(normalize_cell, expected):
    model = BatchNormLSTM(1, H, max_length=4, normalize_cell=normalize_cell, dtype=torch.float64)
    with torch.no_grad():  # the block of g alone reaches the cell where all states are 0
        model.weight_hh[2 * H : 3 * H] = torch.eye(H)
    x, c0 = torch.zeros(4, 6, 1).double(), torch.zeros(6, H).double().requires_grad_()
    start = double(6, H)
    start -= start.mean(0)
    norms = []
    for steps in (3, 4):
        _, (_, c) = model(x[:steps], (torch.zeros(6, H).double(), c0))
        norms.append(torch.autograd.grad((c * start).sum(), c0)[0].norm())
    assert (norms[1] / norms[0]).item() == pytest.approx(expected, abs=0.005)


def test_the_first_norm_has_the_gain_of_scale_over_root_eps():
    model = BatchNormLSTM(1, H, max_length=1, normalize_cell=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight_hh[2 * H : 3 * H] = torch.eye(H)
        model.bias[:H] = 50  # the input gate is open
    h0 = torch.zeros(6, H).double().requires_grad_()
    start = double(6, H)
    start -= start.mean(0)
    _, (_, c) = model(torch.zeros(1, 6, 1).double(), (h0, torch.zeros(6, H).double()))
    gain = torch.autograd.grad((c * start).sum(), h0)[0].norm() / start.norm()
    assert gain.item() == pytest.approx(31.62, abs=0.005)


@pytest.mark.parametrize("input_size", [1, 3])
def test_constant_inputs_in_float32_leave_all_examples_equal(input_size):
    torch.manual_seed(0)
    model = BatchNormLSTM(input_size, 50, max_length=40)
    with torch.no_grad():
        model.bias.add_(0.1 * torch.randn(200))
    output, _ = model(torch.full((40, 30, input_size), 0.1307))
    assert output.isfinite().all()
    assert (output.max(1).values - output.min(1).values).max() < 1e-6  # rounding does not grow by 250 a step
    assert all(buffer.isfinite().all() and (buffer >= 0).all() for n, buffer in model.named_buffers() if "var" in n)


def test_noise_on_the_start_tames_dead_steps():
    assert gain(20) > 1e20
    assert gain(20, noise=0.1) < 1e3


# Precision


@pytest.mark.parametrize(("input_size", "batch"), [(1, 64), (20, 64)])
def test_float32_keeps_its_digits(input_size, batch):
    def errors(values):
        return [(a.double() - b).abs().max() / b.abs().max() for a, b in zip(values, exact, strict=True)]

    x, model = double(40, batch, input_size) + 3, layer(input_size, max_length=40)
    state = double(batch, H, seed=31), double(batch, H, seed=32)
    exact = values_and_gradients(model, model, x, state, None)
    single, arguments = copy.deepcopy(model).float(), (x.float(), [part.float() for part in state], None)
    ours = errors(values_and_gradients(single, single, *arguments))
    loop = errors(values_and_gradients(lambda *args: reference(single, *args), single, *arguments))
    for error, usual in zip(ours, loop, strict=True):  # weight_ih has next to no gradient where its scale has no effect
        assert error < max(1e-4, 2 * usual)


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_inputs_that_go_along_with_each_other_leave_no_negative_variance(size):
    model = layer(2, dtype=torch.float32)
    with torch.no_grad():
        model.weight_ih[:, 1] = -model.weight_ih[:, 0]
    x = size * double(TIME, 64, 1).float().expand(TIME, 64, 2)  # so that W x is 0
    output, _ = model(x)
    output.sum().backward()
    assert output.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert all((buffer >= 0).all() for name, buffer in model.named_buffers() if "var" in name)


@pytest.mark.parametrize("input_size", [1, 3])
def test_a_large_mean_of_the_input_costs_no_digits(input_size):
    x = double(TIME, 64, input_size)
    outputs = [layer(input_size, dtype=torch.float32)(x.float() + shift)[0] for shift in (0, 1024)]
    exact = layer(input_size)((x.float() + 1024).double())[0]
    torch.testing.assert_close(outputs[1].double(), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_is_computed_in_float32(dtype, training):
    model = layer(3, training=training, dtype=dtype)
    x = double(TIME, 8, 3).to(dtype)
    wide = copy.deepcopy(model).float()
    output, state = model(x)
    expected, wide_state = wide(x.float())
    assert {value.dtype for value in (output, *state)} == {dtype}
    torch.testing.assert_close([output, *state], [value.to(dtype) for value in (expected, *wide_state)])
    output.float().square().sum().backward()
    expected.to(dtype).float().square().sum().backward()
    for parameter, twin in zip(model.parameters(), wide.parameters(), strict=True):
        assert parameter.grad.dtype == dtype
        torch.testing.assert_close(parameter.grad, twin.grad.to(dtype))
    for buffer, twin in zip(model.buffers(), wide.buffers(), strict=True):
        torch.testing.assert_close(buffer, twin.to(buffer.dtype))
    assert BatchNormLSTM(3, H, max_length=2, dtype=dtype).weight_hh.dtype == dtype


@pytest.mark.parametrize("input_size", [1, 3])
def test_autocast_changes_nothing(input_size):
    model, x = layer(input_size, dtype=torch.float32), double(TIME, 8, input_size).bfloat16()
    model.momentum = 0.0
    expected, _ = model(x.float())
    expected.sin().sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = model(x)
        model(x, tuple(part.bfloat16() for part in state))
        model(x)[0].sin().sum().backward()  # against torch's advice, as with its own layers
    model.zero_grad()
    output.sin().sum().backward()
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], gradients, rtol=0, atol=0)


# What users do


def test_nothing_of_the_padding_counts_even_where_it_is_not_a_number():
    lengths = torch.tensor(LENGTHS)
    past = torch.arange(TIME).unsqueeze(1) >= lengths
    for input_size, training in ((1, True), (3, True), (1, False), (3, False)):
        results = []
        for filler in (0.0, math.nan, math.inf):
            model = layer(input_size, training=training)
            x = double(TIME, 9, input_size).masked_fill(past.unsqueeze(2), filler).requires_grad_()
            output, state = model(x, lengths=lengths)
            output.sin().sum().backward()
            assert not output[past].any()
            assert not x.grad[past].any()
            results.append([output, *state, x.grad, *(p.grad for p in model.parameters()), *model.buffers()])
        for others in results[1:]:
            torch.testing.assert_close(others, results[0], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8])
def test_lengths_of_every_integer_type_are_taken(dtype):
    model = layer(1, momentum=0.0)
    x = double(TIME, 9, 1)
    torch.testing.assert_close(
        model(x, lengths=torch.tensor(LENGTHS, dtype=dtype)), model(x, lengths=torch.tensor(LENGTHS))
    )


def test_state_is_that_after_the_last_step_of_each_sequence():
    model = layer(3, training=False)
    output, (h, c) = model(double(TIME, 9, 3), lengths=torch.tensor(LENGTHS))
    for b, length in enumerate(LENGTHS):
        torch.testing.assert_close(h[b], output[length - 1, b])
        _, (_, alone) = model(double(TIME, 9, 3)[:length, b : b + 1])
        torch.testing.assert_close(c[b], alone[0])


@pytest.mark.parametrize("lengths", [None, []])
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_passes_through(training, lengths):
    model = layer(3, training=training)
    before = copy.deepcopy(model.state_dict())
    x = torch.zeros(TIME, 0, 3).double().requires_grad_()
    output, (h, c) = model(x, lengths=None if lengths is None else torch.tensor(lengths, dtype=torch.int64))
    (output.sum() + c.sum()).backward()
    assert (output.shape, h.shape, c.shape) == ((TIME, 0, H), (0, H), (0, H))
    assert x.grad.shape == x.shape
    assert not any(parameter.grad.any() for parameter in model.parameters())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_one_sequence_with_its_length_is_trained_on_the_stored_statistics():
    model, x = layer(3), double(TIME, 1, 3)
    torch.testing.assert_close(model(x, lengths=torch.tensor([6]))[0], copy.deepcopy(model).eval()(x)[0])


def test_the_input_may_be_a_view_and_results_can_be_viewed():
    x = double(8, TIME, 3).transpose(0, 1)
    output, (h, c) = layer(3)(x)
    torch.testing.assert_close(output, layer(3)(x.contiguous())[0])
    assert all(value.is_contiguous() for value in (output, h, c))
    expanded = double(TIME, 8, 1).expand(TIME, 8, 3)
    torch.testing.assert_close(layer(3)(expanded)[0], layer(3)(expanded.contiguous())[0])


def test_arguments_are_left_as_they_were():
    x, h, c, lengths = double(TIME, 9, 1), double(9, H), double(9, H, seed=1), torch.tensor(LENGTHS)
    arguments = x, h, c, lengths
    before = [argument.clone() for argument in arguments]
    for parts in ((x, (h, c), lengths), (x[:, :8], (h[:8], c[:8]), None)):
        gradient = torch.ones(TIME, parts[0].shape[1], H).double()
        layer(1)(*parts)[0].backward(gradient)
        assert gradient.eq(1).all()
    torch.testing.assert_close(list(arguments), before, rtol=0, atol=0)


def test_results_may_be_changed_in_place_and_gone_through_twice():
    model, x = layer(1), double(TIME, 8, 1)
    output, (h, _) = model(x)
    loss = output.sin().sum() + h.sum()
    first = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, list(model.parameters())), first, rtol=0, atol=0)
    output, _ = layer(1)(x)
    nn.functional.dropout(output, 0.5, inplace=True)
    output.sum().backward()


def test_a_layer_may_run_twice_before_the_gradient():
    model, x = layer(1), double(TIME, 8, 1)
    first, state = model(x)
    second, _ = model(x, state)
    expected, twin = [], layer(1)
    first_, state_ = reference(twin, x)
    second_, _ = reference(twin, x, state_)
    for m, outputs in ((model, (first, second)), (twin, (first_, second_))):
        expected.append(torch.autograd.grad(sum(o.sin().sum() for o in outputs), list(m.parameters())))
    torch.testing.assert_close(*expected, rtol=1e-10, atol=1e-10)


def test_a_second_derivative_is_refused():
    model, x = layer(1), double(TIME, 8, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0].sin().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_frozen_parameters_have_no_gradient_and_the_rest_the_same():
    x = double(TIME, 8, 1)
    model, frozen = layer(1), layer(1)
    frozen.weight_hh.requires_grad_(False)
    frozen.scale_c.requires_grad_(False)
    for m in (model, frozen):
        m(x)[0].sin().sum().backward()
    assert frozen.weight_hh.grad is None
    assert frozen.scale_c.grad is None
    torch.testing.assert_close(frozen.weight_ih.grad, model.weight_ih.grad)
    frozen.requires_grad_(False)
    assert not frozen(x)[0].requires_grad


def test_without_gradients_little_memory_is_taken():
    model, x = layer(1, max_length=50, dtype=torch.float32), torch.randn(50, 64, 1)
    with (
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded,
        torch.no_grad(),
    ):
        model(x)
    largest = max(event.self_cpu_memory_usage for event in recorded.events())
    assert largest <= x.numel() * H * 4  # the output; z of all steps is four times as large


@pytest.mark.parametrize("input_size", [1, 30])
def test_five_numbers_a_unit_are_kept_and_five_more_for_a_wide_input(input_size):
    model = BatchNormLSTM(input_size, 64, max_length=20)
    x = torch.randn(20, 128, input_size)
    kept = saved_bytes(lambda: model(x)) / (20 * 128 * 64 * 4)
    assert 5 < kept < (5.8 if input_size == 1 else 10.4)


def test_under_inference_mode_it_gives_the_same():
    model, x = layer(1, momentum=0.0), double(TIME, 8, 1)
    with torch.inference_mode():
        output, _ = model(x)
    torch.testing.assert_close(output, model(x)[0].detach())


def test_copies_and_files_hold_all_of_it():
    model, x = layer(3, statistics="per_step"), double(TIME, 8, 3)
    model(x)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    loaded = layer(3, tracked=0)
    loaded.load_state_dict(torch.load(file))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        torch.testing.assert_close(twin.eval()(x), copy.deepcopy(model).eval()(x), rtol=0, atol=0)
    assert list(model.state_dict()) == [
        "weight_ih",
        "weight_hh",
        "bias",
        "scale_ih",
        "scale_hh",
        "scale_c",
        "bias_c",
        *(f"running_{kind}_{term}" for term in ("ih", "hh", "c") for kind in ("mean", "var")),
        "num_batches_tracked",
    ]


def test_checkpointed_layers_give_the_same_gradients():
    x = double(TIME, 8, 1).requires_grad_()
    gradients = []
    for run in (lambda m: m(x)[0], lambda m: checkpoint(lambda y: m(y)[0], x, use_reentrant=False)):
        model = layer(1)
        gradients.append(torch.autograd.grad(run(model).sin().sum(), [x, *model.parameters()]))
    torch.testing.assert_close(*gradients)


def test_functional_call_moves_the_buffers_it_is_given():
    model, x = layer(1), double(TIME, 8, 1)
    values = {name: value.clone() for name, value in model.state_dict().items()}
    before = copy.deepcopy(model.state_dict())
    output, _ = functional_call(model, values, (x,))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(output, model(x)[0])
    torch.testing.assert_close(values, dict(model.state_dict()))


def test_torch_func_is_refused_clearly():
    model = layer(1)
    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.grad(lambda x: model(x)[0].sum())(double(TIME, 8, 1))


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_gives_the_same():
    model, x = Reader().eval(), double(TIME, 8, 3)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))
    compiled(x).sin().sum().backward()
    assert model.first.weight_hh.grad.any()


def test_training_lowers_the_loss_of_a_task_that_needs_memory():
    torch.manual_seed(0)
    model, head = BatchNormLSTM(1, 16, max_length=10), nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.02)
    for _ in range(150):
        x = torch.randn(10, 64, 1)
        loss = (head(model(x)[0][-1]).squeeze(1) - x[0, :, 0]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3  # 1 where the first input is forgotten
    population_statistics(model, [torch.randn(10, 64, 1) for _ in range(20)])
    x = torch.randn(10, 500, 1)
    assert (head(model.eval()(x)[0][-1]).squeeze(1) - x[0, :, 0]).square().mean() < 0.35


# Start and arguments


def test_starting_values_are_those_of_the_paper():
    torch.manual_seed(0)
    model = BatchNormLSTM(6, 5, max_length=3)
    for weight, size in ((model.weight_ih, 6), (model.weight_hh, 5)):
        torch.testing.assert_close(weight.T @ weight, torch.eye(size))
    assert model.bias.tolist() == [0] * 5 + [1] * 5 + [0] * 10
    for scale in (model.scale_ih, model.scale_hh, model.scale_c):
        assert scale.eq(torch.tensor(0.1)).all()
    assert not model.bias_c.any()
    assert (model.eps, model.momentum, model.statistics, model.hidden_init) == (1e-5, 0.1, "per_step", "orthogonal")
    assert model.normalize_cell
    assert all(buffer.eq(1 if "var" in name else 0).all() for name, buffer in model.named_buffers())
    assert model.running_mean_ih.shape == model.running_var_hh.shape == (3, 20)
    assert model.running_var_c.shape == (3, 5)
    assert model.num_batches_tracked.shape == (3,)
    assert model.num_batches_tracked.dtype == torch.int64
    assert BatchNormLSTM(6, 5, max_length=3, statistics="shared").running_mean_c.shape == (1, 5)
    assert BatchNormLSTM(6, 5, max_length=3, weight_init=0.7).scale_c.eq(torch.tensor(0.7)).all()


def test_the_identity_is_for_the_new_values_and_the_gates_are_orthogonal():
    model = BatchNormLSTM(6, 5, max_length=3, hidden_init="identity")
    i, f, g, o = model.weight_hh.detach().chunk(4)
    torch.testing.assert_close(g, torch.eye(5))
    gates = torch.cat((i, f, o))
    torch.testing.assert_close(gates.T @ gates, torch.eye(5))
    assert all(gate.any() for gate in (i, f, o))


def test_without_the_norm_of_the_cell_its_parameters_are_none():
    model = BatchNormLSTM(3, H, max_length=2, normalize_cell=False)
    assert model.scale_c is None
    assert model.bias_c is None
    assert not any(name.endswith("_c") for name in model.state_dict())
    model.reset_parameters()


def test_reset_gives_starting_values_again():
    model = layer(3)
    model.reset_parameters()
    model.reset_running_stats()
    assert model.scale_hh.eq(0.1).all()
    assert model.running_var_c.eq(1).all()
    assert not model.running_mean_c.any()
    assert not model.num_batches_tracked.any()


def test_representation_and_signature_name_the_arguments():
    text = repr(BatchNormLSTM(3, 5, max_length=7, momentum=None, statistics="shared", hidden_init="identity"))
    assert "3, 5, max_length=7, weight_init=0.1, eps=1e-05, momentum=None, statistics='shared'" in text
    assert "hidden_init='identity', normalize_cell=True" in text
    names = list(inspect.signature(BatchNormLSTM).parameters)
    assert all(f"{name}=" in text for name in names[2:-2])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"input_size": 0}, ValueError, "input_size must be at least 1, got 0"),
        ({"hidden_size": 0}, ValueError, "hidden_size must be at least 1, got 0"),
        ({"hidden_size": 4.0}, TypeError, "hidden_size must be an int, got 4.0"),
        ({"max_length": 0}, ValueError, "max_length must be at least 1, got 0"),
        ({"max_length": True}, TypeError, "max_length must be an int, got True"),
        ({"weight_init": "0.1"}, TypeError, "weight_init must be a number, got '0.1'"),
        ({"weight_init": None}, TypeError, "weight_init must be a number, got None"),
        ({"weight_init": math.inf}, ValueError, "weight_init must be finite, got inf"),
        ({"eps": 0.0}, ValueError, "eps must be positive and finite, got 0.0"),
        ({"eps": math.nan}, ValueError, "eps must be positive and finite, got nan"),
        ({"eps": math.inf}, ValueError, "eps must be positive and finite, got inf"),
        ({"eps": True}, TypeError, "eps must be a number, got True"),
        ({"momentum": 1.1}, ValueError, r"momentum must lie in \[0, 1\] or be None, got 1.1"),
        ({"momentum": -0.1}, ValueError, "momentum must lie in"),
        ({"momentum": "none"}, TypeError, "momentum must be a number, got 'none'"),
        ({"statistics": "global"}, ValueError, "statistics must be one of per_step, shared, got 'global'"),
        ({"hidden_init": "eye"}, ValueError, "hidden_init must be one of orthogonal, identity, got 'eye'"),
    ],
)
def test_bad_arguments_are_named(options, error, words):
    with pytest.raises(error, match=words):
        BatchNormLSTM(**{"input_size": 3, "hidden_size": 5, "max_length": 2, **options})


def test_the_ends_of_the_ranges_are_taken():
    for momentum in (0, 1):
        BatchNormLSTM(1, 1, max_length=1, momentum=momentum, weight_init=1)(torch.randn(1, 2, 1))


X = torch.zeros(TIME, 3, 3)
PART = torch.zeros(3, H)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([[1.0]],), TypeError, "input must be a tensor, got list"),
        ((X[0],), ValueError, r"input must have shape \(time, batch, 3\), got \(3, 3\)"),
        ((X[..., :2],), ValueError, r"input must have shape \(time, batch, 3\), got \(6, 3, 2\)"),
        ((X[:0],), ValueError, r"input needs at least one time step, got shape \(0, 3, 3\)"),
        ((X.double(),), TypeError, "input is torch.float64, the parameters are torch.float32"),
        ((X.long(),), TypeError, "input is torch.int64, the parameters are torch.float32"),
        ((X.to("meta"),), ValueError, "input is on meta, the parameters are on cpu"),
        ((X[:, :1],), ValueError, r"expected more than 1 value per channel when training, got input size \(6, 1, 3\)"),
        ((X, PART), TypeError, r"state must be a pair \(h, c\) or None, got Tensor"),
        ((X, (PART,)), TypeError, "state must be a pair"),
        ((X, (PART[:2], PART)), ValueError, r"state h must have shape \(3, 4\), got \(2, 4\)"),
        ((X, (PART, PART[:, :1])), ValueError, r"state c must have shape \(3, 4\), got \(3, 1\)"),
        ((X, (PART.half(), PART)), TypeError, "state h is torch.float16"),
        ((X, None, [6, 6, 6]), TypeError, "lengths must be a tensor of integers or None, got list"),
        ((X, None, torch.ones(3)), TypeError, "lengths must be a tensor of integers or None, got torch.float32"),
        ((X, None, torch.ones(3, dtype=torch.bool)), TypeError, "lengths must be a tensor of integers .* torch.bool"),
        ((X, None, torch.tensor([6, 6])), ValueError, r"lengths must have shape \(3,\), got \(2,\)"),
        ((X, None, torch.tensor([6, 0, 6])), ValueError, r"lengths must lie in 1..6, got 0 to 6"),
        ((X, None, torch.tensor([7, 1, 6])), ValueError, r"lengths must lie in 1..6, got 1 to 7"),
    ],
)
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        BatchNormLSTM(3, H, max_length=TIME)(*arguments)


@pytest.mark.parametrize("change", [torch.Tensor.double, torch.Tensor.long])
def test_autocast_takes_no_double_and_no_integers(change):
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(TypeError, match="the parameters are"):
        BatchNormLSTM(3, H, max_length=TIME)(change(X))
