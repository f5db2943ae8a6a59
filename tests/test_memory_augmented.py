"""The memory-augmented network against loops that follow the formulas one example, slot and head at a time."""

import copy
import inspect
import io
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from workedpapers.memory_augmented import (
    LeastRecentlyUsedMemory,
    MemoryAugmentedNetwork,
    MemoryState,
    NetworkState,
    TuringMemory,
    cosine_similarity,
)

DEFAULTS = {
    "controller": "lstm",
    "hidden_size": 4,
    "slots": 6,
    "width": 3,
    "reads": 2,
    "writes": 1,
    "decay": 0.95,
    "erase": True,
    "targets": "own",
    "ties": "first",
    "gate": "controller",
    "write_content": "key",
    "sharpness": None,
    "order": "write",
    "addressing": "lru",
    "feedback": True,
}
OPTIONS = {
    "the paper": {},
    "four heads": {"reads": 4, "writes": 3},
    "another decay": {"decay": 0.6, "reads": 3},
    "no erasing": {"erase": False, "writes": 2},
    "shared targets": {"targets": "shared", "reads": 3},
    "shared targets, several heads": {"targets": "shared", "reads": 3, "writes": 2},
    "all ties": {"ties": "all"},
    "all ties, several heads": {"ties": "all", "writes": 2},
    "all ties, shared targets": {"ties": "all", "targets": "shared", "reads": 3, "writes": 2},
    "learned gate": {"gate": "learned", "writes": 2},
    "contents of their own": {"write_content": "separate", "writes": 2},
    "a fixed sharpness": {"sharpness": 5.0},
    "a learned sharpness": {"sharpness": "learned"},
    "addressed before the write": {"order": "address", "writes": 2},
    "a feed-forward controller": {"controller": "feedforward"},
    "no feedback": {"feedback": False},
    "all at once": {
        "controller": "feedforward",
        "decay": 0.7,
        "gate": "learned",
        "write_content": "separate",
        "sharpness": "learned",
        "order": "address",
        "feedback": False,
        "reads": 3,
        "writes": 2,
    },
    "ntm": {"addressing": "ntm"},
    "ntm, two writes": {"addressing": "ntm", "reads": 1, "writes": 2},
    "ntm, feed-forward": {"addressing": "ntm", "controller": "feedforward", "feedback": False},
    "sizes of one": {"hidden_size": 1, "slots": 1, "width": 1, "reads": 1},
    "sizes of one, ntm": {"hidden_size": 1, "slots": 1, "width": 1, "reads": 1, "addressing": "ntm"},
}
ADDRESSINGS = [{}, {"addressing": "ntm"}]


def double(*sizes, seed=0):
    return torch.randn(*sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(**options):
    """A small one, away from the special values of the initialisation."""
    torch.manual_seed(1)
    model = MemoryAugmentedNetwork(3, 2, **{**DEFAULTS, **options}).double()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.mul_(2).add_(0.5 * double(*parameter.shape, seed=i))
    return model


def tensors(state):
    return [*state[:3], *state.memory]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def softplus(x):
    return np.log1p(np.exp(x))


def taken(values, *shape):
    return np.array([values.pop(0) for _ in range(math.prod(shape))]).reshape(shape)


def cosines(keys, M):
    return np.array([[k @ m / math.sqrt((k @ k + 1e-8) * (m @ m + 1e-8)) for m in M] for k in keys])


def by_hand(model, x, **options):
    """Outputs (time, batch, 2), and of every example the memory at the end and usage, from the formulas."""
    o = {**DEFAULTS, **options}
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}
    R, W, N, width, H = (o[name] for name in ("reads", "writes", "slots", "width", "hidden_size"))
    outputs, memories, usages = np.zeros((*x.shape[:2], 2)), [], []
    for b in range(x.shape[1]):
        h, c, r, M, u = np.zeros(H), np.zeros(H), np.zeros(R * width), np.zeros((N, width)), np.zeros(N)
        w = np.zeros((R, N))
        if o["addressing"] == "ntm":
            w = np.zeros((R + W, N))
            w[:, 0] = 1
        for t, x_t in enumerate(x[:, b].numpy()):
            z = p["weight_ih"] @ x_t + p["bias"] + p["weight_rh"] @ (r if o["feedback"] else 0 * r)
            if o["controller"] == "lstm":
                i, f, g, a = np.split(z + p["weight_hh"] @ h, [H, 2 * H, 3 * H])
                # The order of the rows is ours: input, forget and output gate, candidate.
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(a)
                h = sigmoid(g) * np.tanh(c)
            else:
                h = np.maximum(z, 0)
            emitted = list(p["heads.weight"] @ h + p["heads.bias"])
            take = partial(taken, emitted)
            step = ntm_step if o["addressing"] == "ntm" else lru_step
            reads, M, w, u = step(o, p, take, M, w, u)
            assert not emitted
            r = reads.ravel()
            outputs[t, b] = p["output.weight"] @ np.concatenate([h, r]) + p["output.bias"]
        memories.append(M)
        usages.append(u)
    return outputs, np.array(memories), np.array(usages)


def lru_step(o, p, take, M, w, u):
    R, W, N = o["reads"], o["writes"], o["slots"]
    keys = np.tanh(take(R, o["width"]))
    gate = sigmoid(take(W) if o["gate"] == "controller" else p["write_gate"])
    contents = np.tanh(take(W, o["width"])) if o["write_content"] == "separate" else keys[:W]
    sharpness = 1 + softplus(take(R, 1)) if o["sharpness"] == "learned" else o["sharpness"] or 1.0
    if o["order"] == "address":
        w_r = softmax(sharpness * cosines(keys, M))
    ranking = sorted(range(N), key=lambda i: (u[i], i))
    marked = [{i for i in range(N) if u[i] == u[k]} if o["ties"] == "all" else {k} for k in ranking]
    everyone = set.union(*marked[:R])
    written = np.zeros(N)
    M = np.array([0 * m if o["erase"] and i in marked[0] else m for i, m in enumerate(M)])
    for j in range(W):
        mine = marked[j] if o["targets"] == "own" else everyone
        for i in range(N):
            w_w = gate[j] * w[j, i] + (1 - gate[j]) * (i in mine)
            M[i] += w_w * contents[j]
            written[i] += w_w
    if o["order"] == "write":
        w_r = softmax(sharpness * cosines(keys, M))
    u = o["decay"] * u + written + w_r.sum(0)
    return w_r @ M, M, w_r, u


def ntm_step(o, p, take, M, w, u):
    R, W, N = o["reads"], o["writes"], o["slots"]
    keys, strength = np.tanh(take(R + W, o["width"])), softplus(take(R + W))
    gate, shift, power = sigmoid(take(R + W)), softmax(take(R + W, 3)), 1 + softplus(take(R + W))
    erase, contents = sigmoid(take(W, o["width"])), np.tanh(take(W, o["width"]))

    def address(head, M):
        content = softmax(strength[head] * cosines(keys[head : head + 1], M)[0])
        mixed = gate[head] * content + (1 - gate[head]) * w[head]
        moved = [sum(shift[head, s + 1] * mixed[(i - s) % N] for s in (-1, 0, 1)) for i in range(N)]
        sharp = (np.array(moved) + 1e-8) ** power[head]
        return sharp / sharp.sum()

    writing = [address(R + j, M) for j in range(W)]
    for j in range(W):
        M = M * (1 - np.outer(writing[j], erase[j]))
    for j in range(W):
        M = M + np.outer(writing[j], contents[j])
    reading = np.array([address(j, M) for j in range(R)])
    return reading @ M, M, np.array([*reading, *writing]), u


def in_order(memories):
    """Slots of every example in an order of their own: which of tied slots is taken first does not matter."""
    return np.array([sorted(map(tuple, memory)) for memory in memories])


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("time", [1, 20])
def test_outputs_and_memory_follow_the_formulas(name, time):
    model, x = network(**OPTIONS[name]), double(time, 2, 3)
    output, state = model(x)
    expected, memories, usages = by_hand(model, x, **OPTIONS[name])
    np.testing.assert_allclose(output.detach().numpy(), expected, rtol=1e-11, atol=1e-12)
    memory = state.memory.memory.detach().numpy()
    np.testing.assert_allclose(in_order(memory), in_order(memories), rtol=1e-11, atol=1e-12)
    if isinstance(model.memory, TuringMemory):
        np.testing.assert_allclose(memory, memories, rtol=1e-11, atol=1e-12)
    else:
        np.testing.assert_allclose(np.sort(state.memory.usage), np.sort(usages), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_equal_finite_differences(name):
    model, x = network(**OPTIONS[name]), double(4, 2, 3).requires_grad_()
    names = [name for name, _ in model.named_parameters()]

    def outputs(x, *values):
        output, state = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))
        return output, state.memory.memory.square().sum(1)

    assert torch.autograd.gradcheck(outputs, (x, *model.parameters()), fast_mode=True)


@pytest.mark.parametrize("options", ADDRESSINGS)
def test_gradients_for_input_and_state_equal_finite_differences_entry_by_entry(options):
    model, x = network(**options).requires_grad_(False), double(3, 1, 3).requires_grad_()
    state = model(double(7, 1, 3, seed=1))[1]
    parts = [part.clone().requires_grad_() for part in (*state[:3], *state.memory[:2])]

    def outputs(x, hidden, cell, read, memory, weights):
        held = state.memory._replace(memory=memory, weights=weights)
        output, after = model(x, NetworkState(hidden, cell, read, held))
        return output, after.memory.memory

    assert torch.autograd.gradcheck(outputs, (x, *parts))


def test_the_controller_is_torchs_lstm():
    model, x = network(), double(6, 2, 3)
    order = [*range(4), *range(4, 8), *range(12, 16), *range(8, 12)]  # torch: input, forget, candidate, output
    cell = torch.nn.LSTMCell(3 + 6, 4).double()
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat((model.weight_ih, model.weight_rh), 1)[order])
        cell.weight_hh.copy_(model.weight_hh[order])
        cell.bias_ih.copy_(model.bias[order])
        cell.bias_hh.zero_()
    state = model.initial_state(2)
    hidden = None
    for step in x.split(1):
        hidden = cell(torch.cat((step[0], state.read), 1), hidden)
        _, state = model(step, state)
        torch.testing.assert_close((state.hidden, state.cell), hidden, rtol=1e-12, atol=1e-12)


# The memory alone


def filled(seed=0, batch=2, **options):
    """A memory and a state of it with distinct usages."""
    memory = LeastRecentlyUsedMemory(7, 3, 2, **options)
    state = MemoryState(
        double(batch, 7, 3, seed=seed),
        double(batch, 2, 7, seed=seed + 1).softmax(-1),
        double(batch, 7, seed=seed + 2).abs(),
    )
    return memory, state


def test_cosines_are_torchs():
    keys, rows = double(2, 4, 3), double(2, 5, 3, seed=1)
    expected = F.cosine_similarity(keys.unsqueeze(2), rows.unsqueeze(1), dim=-1)
    torch.testing.assert_close(cosine_similarity(keys, rows), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("sharpness", [None, 3.0, 2, double(2, 2, seed=5).exp()])
def test_a_read_is_the_softmax_of_torchs_cosines(sharpness):
    memory, state = filled()
    keys = double(2, 2, 3, seed=9)
    cosine = F.cosine_similarity(keys.unsqueeze(2), state.memory.unsqueeze(1), dim=-1)
    factor = 1.0 if sharpness is None else torch.as_tensor(sharpness, dtype=torch.float64)
    weights = (factor.unsqueeze(-1) * cosine if isinstance(sharpness, torch.Tensor) else factor * cosine).softmax(-1)
    read, after = memory.read(state, keys, sharpness)
    torch.testing.assert_close(after.weights, weights, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(memory.address(state, keys, sharpness), after.weights, rtol=0, atol=0)
    torch.testing.assert_close(read, torch.einsum("bhs,bsw->bhw", weights, state.memory), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(after.usage, state.usage + weights.sum(1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(after.memory, state.memory, rtol=0, atol=0)


def test_a_key_or_a_slot_of_zeros_is_orthogonal_to_all_and_a_short_one_is_not():
    zero, ones = torch.zeros(1, 1, 3), torch.ones(1, 1, 3)
    for pair in ((zero, zero), (zero, ones), (ones, zero)):
        assert cosine_similarity(*pair).item() == 0
    assert cosine_similarity(ones, 1e-3 * ones).item() == pytest.approx(1, abs=2e-3)
    assert cosine_similarity(ones, 1e-4 * ones / 3**0.5).item() == pytest.approx(0.5**0.5)  # ε is the squared norm


def test_gradients_at_a_memory_of_zeros_are_finite():
    keys, rows = torch.ones(1, 1, 3, requires_grad=True), torch.zeros(1, 2, 3, requires_grad=True)
    cosine_similarity(keys, rows).sum().backward()
    assert not keys.grad.any()
    torch.testing.assert_close(rows.grad, torch.full((1, 2, 3), 1e4 / 3**0.5))


def test_usage_decays_and_takes_what_is_written_and_read():
    memory, state = filled(decay=0.8)
    least = memory.least_used(state.usage)
    gate = torch.tensor([[0.25], [1.0]], dtype=torch.float64)
    after = memory.write(state, double(2, 1, 3), gate)
    written = gate * state.weights[:, 0] + (1 - gate) * least[:, 0]
    torch.testing.assert_close(after.usage, 0.8 * state.usage + written)
    torch.testing.assert_close(after.weights, state.weights, rtol=0, atol=0)


@pytest.mark.parametrize("writes", [1, 2])
def test_the_least_used_slots_are_marked_in_order(writes):
    usage = torch.tensor([[3.0, 1.0, 2.0, 5.0], [0.0, 9.0, 8.0, 7.0]])
    expected = torch.tensor([[[0.0, 1, 0, 0], [0, 0, 1, 0]], [[1, 0, 0, 0], [0, 0, 0, 1]]])
    own = LeastRecentlyUsedMemory(4, 3, 2, writes=writes)
    torch.testing.assert_close(own.least_used(usage), expected[:, :writes])
    shared = LeastRecentlyUsedMemory(4, 3, 2, writes=writes, targets="shared")
    both = expected.sum(1, keepdim=True)
    torch.testing.assert_close(shared.least_used(usage), both.expand(-1, writes, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_tied_slots_exactly_as_many_are_marked_as_asked_for_the_first_ones(dtype):
    usage = torch.tensor([[1.0, 0.5, 1.0, 0.5, 0.5, 1.0], [0.0] * 6], dtype=dtype)
    for writes, first, second in ((1, [1], [0]), (2, [1, 3], [0, 1]), (4, [1, 3, 4, 0], [0, 1, 2, 3])):
        least = LeastRecentlyUsedMemory(6, 3, 4, writes=writes).least_used(usage)
        assert least.dtype == dtype
        assert least.sum(-1).eq(1).all()
        assert least.argmax(-1).tolist() == [first, second]
    shared = LeastRecentlyUsedMemory(6, 3, 4, targets="shared").least_used(usage)
    assert shared[:, 0].tolist() == [[1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 0, 0]]


def test_as_printed_all_that_tie_are_marked():
    usage = torch.tensor([[1.0, 0.5, 1.0, 0.5, 2.0, 3.0], [0.0] * 6])
    for reads, targets, first in (
        (1, "own", [0, 1, 0, 1, 0, 0]),
        (3, "shared", [1, 1, 1, 1, 0, 0]),
        (5, "shared", [1, 1, 1, 1, 1, 0]),
    ):
        least = LeastRecentlyUsedMemory(6, 3, reads, targets=targets, ties="all").least_used(usage)
        assert least[:, 0].tolist() == [first, [1] * 6]
    two = LeastRecentlyUsedMemory(6, 3, 4, writes=3, ties="all").least_used(usage)
    assert two[0].tolist() == [[0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0], [1, 0, 1, 0, 0, 0]]
    once = LeastRecentlyUsedMemory(6, 3, 1, ties="all")
    state = once.write(
        MemoryState(torch.ones(2, 6, 3), torch.zeros(2, 1, 6), usage), torch.zeros(2, 1, 3), torch.ones(2, 1)
    )
    assert state.memory[..., 0].tolist() == [[1, 0, 1, 0, 1, 1], [0] * 6]


@pytest.mark.parametrize(
    "options", [{}, {"writes": 2}, {"targets": "shared"}, {"ties": "all"}, {"targets": "shared", "ties": "all"}]
)
def test_only_the_least_used_slot_is_erased_and_exactly(options):
    memory, state = filled(**options)
    contents, gate = torch.zeros(2, memory.writes, 3).double(), double(2, memory.writes).sigmoid()
    after = memory.write(state, contents, gate).memory
    lowest = state.usage.argmin(1)
    for b in range(2):
        assert not after[b, lowest[b]].any()
        others = [i for i in range(7) if i != lowest[b]]
        assert torch.equal(after[b, others], state.memory[b, others])
    kept = LeastRecentlyUsedMemory(7, 3, 2, writes=memory.writes, erase=False)
    assert torch.equal(kept.write(state, contents, gate).memory, state.memory)


@pytest.mark.parametrize("erase", [True, False])
def test_no_gradient_passes_an_erased_slot_nor_the_choice_of_slots(erase):
    memory, state = filled(erase=erase)
    state = MemoryState(*(part.requires_grad_() for part in state))
    after = memory.write(state, double(2, 1, 3), torch.full((2, 1), 0.3).double())
    assert not after.usage.requires_grad
    _, after = memory.read(after, double(2, 2, 3, seed=3))
    assert not after.usage.requires_grad
    slope = double(2, 7, 3, seed=4)
    held, weights, usage = torch.autograd.grad((after.memory * slope).sum(), state, allow_unused=True)
    expected = slope.clone()
    if erase:
        expected[[0, 1], state.usage.argmin(1)] = 0
    torch.testing.assert_close(held, expected, rtol=0, atol=0)
    torch.testing.assert_close(weights[:, 0], 0.3 * torch.einsum("bsw,bw->bs", slope, double(2, 1, 3)[:, 0]))
    assert not weights[:, 1].any()
    assert usage is None


@pytest.mark.parametrize("decay", [0.3, 0.95, 0.999])
@pytest.mark.parametrize("writes", [1, 2, 4])
def test_a_slot_written_lives_as_many_steps_as_there_are_slots_for_each_head(decay, writes):
    memory = LeastRecentlyUsedMemory(8, 3, 4, writes=writes, decay=decay)
    state = memory.initial_state(1, dtype=torch.float64)
    born, lives = {}, []
    for step in range(40):
        for slot in memory.least_used(state.usage)[0].argmax(-1).tolist():
            if slot in born:
                lives.append(step - born[slot])
            born[slot] = step
        state = memory.write(state, torch.ones(1, writes, 3).double(), torch.zeros(1, writes).double())
        _, state = memory.read(state, torch.zeros(1, 4, 3).double())
    assert set(lives) == {8 // writes}


def test_a_gate_of_one_writes_where_was_read_last_and_of_zero_to_the_least_used():
    memory, state = filled(writes=2, erase=False)
    contents = double(2, 2, 3, seed=8)
    for gate, places in ((1.0, state.weights), (0.0, memory.least_used(state.usage))):
        after = memory.write(state, contents, torch.full((2, 2), gate).double())
        expected = state.memory + torch.einsum("bhs,bhw->bsw", places, contents)
        torch.testing.assert_close(after.memory, expected)


def test_the_memory_works_alone():
    memory = LeastRecentlyUsedMemory(5, 2, 1)
    state = memory.initial_state(1)
    assert [part.shape for part in state] == [(1, 5, 2), (1, 1, 5), (1, 5)]
    assert not any(part.any() for part in state)
    for content in ([1.0, 0.0], [0.0, 1.0]):
        state = memory.write(state, torch.tensor([[content]]), torch.zeros(1, 1))
    assert state.memory[0].tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]]
    read, state = memory.read(state, torch.tensor([[[0.0, 2.0]]]), 50.0)
    torch.testing.assert_close(read, torch.tensor([[[0.0, 1.0]]]))
    assert state.weights.argmax() == 1


def test_state_that_goes_in_is_left_as_it_was():
    memory, state = filled(erase=False)
    before = [part.clone() for part in state]
    memory.read(memory.write(state, double(2, 1, 3), double(2, 1).sigmoid()), double(2, 2, 3))
    assert all(torch.equal(part, was) for part, was in zip(state, before, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), st.data())
def test_weights_and_gates_keep_their_sums(slots, width, batch, data):
    reads = data.draw(st.integers(1, slots))
    writes = data.draw(st.integers(1, reads))
    memory = LeastRecentlyUsedMemory(slots, width, reads, writes=writes)
    state = memory.initial_state(batch, dtype=torch.float64)
    for step in range(3):
        gate = double(batch, writes, seed=step).sigmoid()
        before = state
        state = memory.write(state, double(batch, writes, width, seed=step), gate)
        placed = (state.usage - memory.decay * before.usage).sum(1)
        torch.testing.assert_close(placed, (gate * before.weights[:, :writes].sum(-1) + 1 - gate).sum(1))
        _, state = memory.read(state, double(batch, reads, width, seed=step + 9))
        torch.testing.assert_close(state.weights.sum(-1), torch.ones(batch, reads).double())


# The memory of the Turing machine


def test_a_turing_head_moves_against_numpy():
    memory, rows = TuringMemory(5, 3, 1), double(1, 5, 3)
    before = double(1, 2, 5, seed=1).softmax(-1)
    keys, strength = double(1, 2, 3, seed=2), double(1, 2, 1, seed=3).exp()
    shift, power = double(1, 2, 3, seed=4).softmax(-1), 1 + double(1, 2, 1, seed=5).exp()
    gate = torch.tensor([[[0.25], [0.8]]], dtype=torch.float64)
    weights = memory.address(rows, before, keys, strength, gate, shift, power)[0].numpy()
    for head in range(2):
        content = softmax(strength[0, head].numpy() * cosines(keys[0, head : head + 1].numpy(), rows[0].numpy())[0])
        mixed = gate[0, head].item() * content + (1 - gate[0, head].item()) * before[0, head].numpy()
        moved = sum(np.roll(mixed, s) * shift[0, head, s + 1].item() for s in (-1, 0, 1))
        sharp = (moved + 1e-8) ** power[0, head].item()
        np.testing.assert_allclose(weights[head], sharp / sharp.sum(), rtol=1e-12)


def test_a_turing_head_that_only_shifts_goes_round():
    memory = TuringMemory(4, 3, 1)
    before = torch.eye(4)[[3, 0]].unsqueeze(0)
    shift = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
    ones = torch.ones(1, 2, 1)
    weights = memory.address(torch.rand(1, 4, 3), before, torch.ones(1, 2, 3), ones, 0 * ones, shift, 3 * ones)
    torch.testing.assert_close(weights, torch.eye(4)[[0, 3]].unsqueeze(0), rtol=0, atol=1e-6)


def test_a_turing_head_of_any_power_has_finite_weights_and_gradients():
    memory = TuringMemory(128, 3, 1)
    power = torch.full((1, 1, 1), 200.0, requires_grad=True)
    ones = torch.ones(1, 1, 1)
    spread = torch.full((1, 1, 128), 1 / 128)
    shift = torch.tensor([[[0.0, 1.0, 0.0]]])
    weights = memory.address(torch.zeros(1, 128, 3), spread, torch.ones(1, 1, 3), ones, ones, shift, power)
    torch.testing.assert_close(weights, spread)
    weights.square().sum().backward()
    assert power.grad.isfinite().all()


def test_a_turing_memory_starts_at_its_first_slot():
    state = TuringMemory(4, 3, 2, writes=1).initial_state(5)
    assert state.memory.shape == (5, 4, 3)
    assert not state.memory.any()
    assert torch.equal(state.weights, torch.eye(4)[0].expand(5, 3, 4))


# Symmetries


def test_an_order_of_the_slots_changes_no_output():
    for name in ("the paper", "four heads", "shared targets", "addressed before the write", "all at once"):
        model, x = network(**OPTIONS[name]), double(8, 2, 3)
        state = model(double(15, 2, 3, seed=1))[1].detach()
        held = state.memory
        assert all(len(set(usage)) == 6 for usage in held.usage.tolist())
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        turned = MemoryState(held.memory[:, order], held.weights[..., order], held.usage[:, order])
        output, after = model(x, state)
        again, permuted = model(x, state._replace(memory=turned))
        torch.testing.assert_close(again, output, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(permuted.memory.memory, after.memory.memory[:, order], rtol=1e-12, atol=1e-12)


def test_turning_the_slots_of_a_turing_memory_changes_no_output():
    model, x = network(addressing="ntm"), double(8, 2, 3)
    state = model(double(15, 2, 3, seed=1))[1].detach()
    turned = type(state.memory)(state.memory.memory.roll(2, 1), state.memory.weights.roll(2, 2))
    torch.testing.assert_close(model(x, state._replace(memory=turned))[0], model(x, state)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_example_knows_nothing_of_its_batch(name):
    model, x = network(**OPTIONS[name]), double(9, 3, 3)
    whole = model(x)[0]
    for b in range(3):
        torch.testing.assert_close(model(x[:, b : b + 1])[0], whole[:, b : b + 1], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_later_input_changes_no_earlier_output(name):
    model, x = network(**{"hidden_size": 16, **OPTIONS[name]}), double(6, 2, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0][3].sum(), x)
    assert gradient[3].all()
    assert not gradient[4:].any()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_sequence_in_pieces_equals_the_sequence_in_one(name):
    """The state to the bit: the products over all steps at once, which could round otherwise, are exact here."""
    model, x = network(**OPTIONS[name]), torch.round(8 * double(11, 2, 3)) / 8
    with torch.no_grad():
        for p in (model.weight_ih, model.bias):
            p.copy_(torch.round(8 * p) / 8)
    whole, whole_state = model(x)
    for cuts in ([1] * 11, [4, 7], [10, 1], [1, 10]):
        pieces, state = [], None
        for piece in x.split(cuts):
            output, state = model(piece, state)
            pieces.append(output)
        torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-13, atol=1e-13)
        assert all(torch.equal(*parts) for parts in zip(tensors(state), tensors(whole_state), strict=True))


# Start


def test_parameters_and_their_start():
    torch.manual_seed(0)
    model = MemoryAugmentedNetwork(300, 5, gate="learned")
    sizes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert sizes == {
        "weight_ih": (800, 300),
        "weight_rh": (800, 160),
        "weight_hh": (800, 200),
        "bias": (800,),
        "write_gate": (1,),
        "heads.weight": (160, 200),
        "heads.bias": (160,),
        "output.weight": (5, 360),
        "output.bias": (5,),
    }
    bound = 200**-0.5
    for weight, gain in ((model.weight_ih, 1), (model.weight_rh, 4), (model.weight_hh, 1)):  # reads are small
        assert 0.99 * gain * bound < weight.abs().max() <= gain * bound
        assert abs(weight.std() / gain - bound / 3**0.5) < 0.001
    assert 0.9 * bound < model.bias.abs().max() <= bound
    assert 0.99 * 3 * bound < model.heads.weight.abs().max() <= 3 * bound
    assert 0.5 * bound < model.heads.bias.abs().max() <= bound
    outward = 360**-0.5  # torch's for 360 inputs
    for part, gain in ((model.output.weight[:, :200], 1), (model.output.weight[:, 200:], 4)):
        assert 0.95 * gain * outward < part.abs().max() <= gain * outward
    assert not model.write_gate.any()
    assert "write_gate" not in dict(MemoryAugmentedNetwork(3, 2).named_parameters())


def test_the_defaults_are_the_papers():
    model = MemoryAugmentedNetwork(405, 5)
    chosen = {
        name: getattr(model, name) for name in ("controller", "hidden_size", "gate", "write_content", "sharpness")
    }
    assert chosen == {
        "controller": "lstm",
        "hidden_size": 200,
        "gate": "controller",
        "write_content": "key",
        "sharpness": None,
    }
    assert (model.order, model.addressing, model.feedback) == ("write", "lru", True)
    for memory in (model.memory, LeastRecentlyUsedMemory()):
        assert (memory.slots, memory.width, memory.reads, memory.writes) == (128, 40, 4, 1)
        assert (memory.decay, memory.erase, memory.targets, memory.ties) == (0.95, True, "own", "first")
    turing = TuringMemory()
    assert (turing.slots, turing.width, turing.reads, turing.writes) == (128, 40, 4, 1)
    assert model.head_sizes == {"keys": 160, "gate": 1}
    sizes = MemoryAugmentedNetwork(4, 5, reads=3, writes=2, width=7, write_content="separate", sharpness="learned")
    assert sizes.head_sizes == {"keys": 21, "gate": 2, "contents": 14, "sharpness": 3}


def test_every_parameter_starts_anew_at_a_reset():
    for options in (*ADDRESSINGS, {"gate": "learned", "controller": "feedforward"}):
        model = network(**options)
        for p in model.parameters():
            torch.nn.init.constant_(p, 7)
        model.reset_parameters()
        assert not any(p.eq(7).any() for p in model.parameters())


def test_the_start_is_an_empty_memory_and_zeros():
    state = network().initial_state(3)
    assert [part.shape for part in tensors(state)] == [
        (3, 4),
        (3, 4),
        (3, 6),
        (3, 6, 3),
        (3, 2, 6),
        (3, 6),
    ]
    assert not any(part.any() for part in tensors(state))
    model, x = network(), double(4, 3, 3)
    torch.testing.assert_close(model(x, model.initial_state(3))[0], model(x)[0], rtol=0, atol=0)


@pytest.mark.parametrize("options", [*ADDRESSINGS, {"writes": 4}, {"ties": "all"}, {"order": "address"}])
def test_an_episode_from_an_empty_memory_has_finite_gradients(options):
    torch.manual_seed(0)
    model = MemoryAugmentedNetwork(7, 3, hidden_size=20, **options)
    model(torch.rand(5, 4, 7))[0].square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("options", [*ADDRESSINGS, {"sharpness": "learned", "writes": 2}])
def test_a_saturated_network_stays_finite_over_a_long_episode(options):
    torch.manual_seed(0)
    model = MemoryAugmentedNetwork(7, 3, hidden_size=20, slots=16, width=8, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(100)
    output, state = model(10 * torch.randn(100, 2, 7))
    output.sum().backward()
    assert all(part.isfinite().all() for part in (output, *tensors(state)))
    assert all(p.grad.isfinite().all() for p in model.parameters())


# States


def trained(output, model):
    """Gradients of one scalar of the output, by name."""
    model.zero_grad()
    output.sin().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("options", ADDRESSINGS)
def test_a_detached_state_cuts_the_gradient_between_two_pieces(options):
    model, x = network(**options), double(8, 2, 3)
    first, state = model(x[:5])
    trained(first, model)
    with pytest.raises(RuntimeError, match="a second time"):
        trained(model(x[5:], state)[0], model)
    cut = state.detach()
    assert type(cut) is NetworkState
    assert type(cut.memory) is type(state.memory)
    assert not any(part.requires_grad for part in tensors(cut))
    assert all(torch.equal(*parts) for parts in zip(tensors(cut), tensors(state), strict=True))
    gradients = trained(model(x[5:], cut)[0], model)
    before = model(x[5:], cut)[0].sin().sum().item()
    with torch.no_grad():
        model.bias[2] += 1e-6
    slope = (model(x[5:], cut)[0].sin().sum().item() - before) / 1e-6
    assert gradients["bias"][2].item() == pytest.approx(slope, rel=1e-4)


def test_a_memory_can_outlive_the_controllers_state():
    model, x = network(), double(8, 2, 3)
    state = model(x)[1]
    kept = model.initial_state(2)._replace(memory=state.memory.detach())
    output, _ = model(x, kept)
    assert not torch.allclose(output, model(x)[0])
    trained(output, model)


@pytest.mark.parametrize(("options", "kind"), [({}, "MemoryState"), ({"addressing": "ntm"}, "TuringState")])
def test_a_state_of_another_kind_is_refused(options, kind):
    model, x = network(**options), double(2, 2, 3)
    state = model(x)[1]
    with pytest.raises(TypeError, match="state must be a NetworkState, got tuple"):
        model(x, tuple(state))
    other = network(**({} if options else {"addressing": "ntm"}))(x)[1].memory
    with pytest.raises(TypeError, match=f"state must be a {kind}, got {type(other).__name__}"):
        model(x, state._replace(memory=other))


@pytest.mark.parametrize("options", ADDRESSINGS)
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t: t[:1], ValueError, r"must have shape \(2, "),
        (lambda t: t[..., :1], ValueError, "must have shape"),
        (lambda t: t.float(), TypeError, "is torch.float32, expected torch.float64"),
        (lambda t: t.long(), TypeError, "is torch.int64, expected torch.float64"),
        (lambda t: t.to("meta"), ValueError, "is on meta, expected cpu"),
        (lambda t: None, TypeError, "must be a tensor, got NoneType"),
    ],
)
def test_a_state_of_which_one_part_does_not_fit_is_refused(options, change, error, words):
    model, x = network(**options), double(2, 2, 3)
    state = model(x)[1]
    for name in ("hidden", "cell", "read"):
        with pytest.raises(error, match=f"state.{name} {words}"):
            model(x, state._replace(**{name: change(getattr(state, name))}))
    for name in state.memory._fields:
        held = state.memory._replace(**{name: change(getattr(state.memory, name))})
        with pytest.raises(error, match=f"state.{name} {words}"):
            model(x, state._replace(memory=held))


def test_a_state_of_another_batch_is_refused():
    model = network()
    state = model(double(2, 5, 3))[1]
    with pytest.raises(ValueError, match=r"state.hidden must have shape \(2, 4\), got \(5, 4\)"):
        model(double(5, 2, 3), state)  # batch first by mistake
    with pytest.raises(ValueError, match=r"state.memory must have shape \(5, 6, 3\), got \(2, 6, 3\)"):
        model(double(2, 5, 3), state._replace(memory=model.initial_state(2).memory))


@pytest.mark.parametrize("options", ADDRESSINGS)
def test_network_and_state_survive_copies_pickles_and_files(options):
    model, x = network(**options), double(4, 2, 3)
    state = model(x)[1].detach()
    expected = model(x, state)[0]
    file = io.BytesIO()
    torch.save(tensors(state), file)
    file.seek(0)
    parts = torch.load(file)
    loaded = NetworkState(*parts[:3], type(state.memory)(*parts[3:]))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for again in (copy.deepcopy(state), pickle.loads(pickle.dumps(state)), loaded):
            assert torch.equal(twin(x, again)[0], expected)
    other = MemoryAugmentedNetwork(3, 2, **{**DEFAULTS, **options}, dtype=torch.float64)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x)[0], model(x)[0])


# Precision


@pytest.mark.parametrize(
    "options", [*ADDRESSINGS, {"gate": "learned", "sharpness": "learned", "controller": "feedforward"}]
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_the_memory_is_in_float32(dtype, options):
    model, x = network(**options).to(dtype), double(30, 2, 3).to(dtype)
    output, state = model(x)
    assert {part.dtype for part in (output, *state[:3])} == {dtype}
    assert {part.dtype for part in state.memory} == {torch.float32}
    expected = model.double()(x.double())[0]
    assert (output.double() - expected).norm() < 20 * torch.finfo(dtype).eps * expected.norm()
    model.to(dtype)(x, state)[0].float().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_memory_alone_takes_half_precision_and_reads_in_it(dtype):
    memory = LeastRecentlyUsedMemory(5, 3, 2)
    state = memory.initial_state(2, dtype=dtype)
    contents, keys = double(2, 1, 3).to(dtype), double(2, 2, 3).to(dtype)
    state = memory.write(state, contents, torch.zeros(2, 1, dtype=dtype))
    read, state = memory.read(state, keys, torch.ones(2, 2, dtype=dtype))
    assert read.dtype == dtype
    assert {part.dtype for part in state} == {torch.float32}
    assert torch.equal(state.memory[:, :1], contents.float())
    wide, _ = memory.read(state, keys.float())
    assert wide.dtype == torch.float32
    torch.testing.assert_close(read, wide.to(dtype))


@pytest.mark.parametrize("options", ADDRESSINGS)
def test_autocast_changes_nothing_but_what_may_come_in(options):
    model, x = network(**options).float(), double(6, 2, 3).float()
    expected, expected_state = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = model(x)
        rounded, _ = model(x.bfloat16(), state)
        with pytest.raises(TypeError, match=r"input is torch.float64, expected torch.float32"):
            model(x.double())
    assert torch.equal(output, expected)
    assert all(torch.equal(*parts) for parts in zip(tensors(state), tensors(expected_state), strict=True))
    assert torch.equal(rounded, model(x.bfloat16().float(), state)[0])
    with pytest.raises(TypeError, match=r"input is torch.bfloat16, expected torch.float32"):
        model(x.bfloat16())


def test_autocast_leaves_a_memory_alone_as_it_is():
    memory, state = filled(writes=2)
    state = MemoryState(*(part.float() for part in state))
    contents, gate, keys = (double(*sizes).float() for sizes in ((2, 2, 3), (2, 2), (2, 2, 3)))
    after = memory.write(state, contents, gate)
    read, last = memory.read(after, keys, 2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = memory.write(state, contents, gate)
        other, other_last = memory.read(again, keys, 2.0)
    for parts in zip((read, *after, *last), (other, *again, *other_last), strict=True):
        assert torch.equal(*parts)


# Transformations of torch


@pytest.mark.parametrize("options", ADDRESSINGS)
def test_second_derivatives_equal_finite_differences(options):
    model = network(**options).requires_grad_(False)
    x = double(3, 1, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: model(x)[0].sin(), x, fast_mode=True)


@pytest.mark.parametrize("name", ["the paper", "shared targets", "all ties, several heads", "learned gate", "ntm"])
def test_gradients_per_example_equal_those_of_batches_of_one(name):
    model, x = network(**OPTIONS[name]), double(3, 4, 3)
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x.unsqueeze(1),))[0].sin().sum()

    together = torch.vmap(torch.func.grad(loss), in_dims=(None, 1))(parameters, x)
    for i in range(4):
        for name, gradient in trained(model(x[:, i : i + 1])[0], model).items():
            torch.testing.assert_close(together[name][i], gradient)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")  # torch says so of that one release
@pytest.mark.parametrize("name", ["the paper", "shared targets, several heads", "all at once", "ntm"])
def test_compiled_as_one_graph_it_gives_the_same_outputs_and_gradients(name):
    torch.compiler.reset()
    model, x = network(**OPTIONS[name]), double(2, 2, 3)

    def two_pieces(x):
        return model(x, model(x)[1])

    output, state = torch.compile(two_pieces, fullgraph=True, backend="aot_eager")(x)
    expected, expected_state = two_pieces(x)
    torch.testing.assert_close((output, *tensors(state)), (expected, *tensors(expected_state)))
    torch.testing.assert_close(trained(output, model), trained(expected, model))


@pytest.mark.parametrize("options", ADDRESSINGS)
def test_exported_with_a_state_it_gives_the_same(options):
    model, x = network(**options), double(2, 3, 3)
    state = model(x)[1].detach()
    program = torch.export.export(model, (x, state)).module()
    torch.testing.assert_close(program(x, state)[0], model(x, state)[0])


# Arguments


@pytest.mark.parametrize("options", ADDRESSINGS)
def test_an_empty_batch_passes_through(options):
    model = network(**options)
    output, state = model(double(4, 0, 3))
    output, _ = model(double(2, 0, 3), state)
    assert output.shape == (2, 0, 2)
    output.sum().backward()
    assert not model.weight_hh.grad.any()


def test_representations_name_the_arguments():
    text = repr(MemoryAugmentedNetwork(3, 5, writes=2, decay=0.9, targets="shared", order="address"))
    assert "input_size=3, output_size=5, controller='lstm', hidden_size=200, feedback=True, addressing='lru'" in text
    assert "gate='controller', write_content='key', sharpness=None, order='address'" in text
    assert (
        "LeastRecentlyUsedMemory(slots=128, width=40, reads=4, writes=2, decay=0.9, erase=True, "
        "targets='shared', ties='first')" in text
    )
    assert repr(TuringMemory(9, writes=2)) == "TuringMemory(slots=9, width=40, reads=4, writes=2)"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"input_size": 0}, ValueError, "input_size must be at least 1, got 0"),
        ({"output_size": 2.0}, TypeError, "output_size must be an int, got 2.0"),
        ({"hidden_size": True}, TypeError, "hidden_size must be an int, got True"),
        ({"slots": 0}, ValueError, "slots must be at least 1, got 0"),
        ({"width": -1}, ValueError, "width must be at least 1, got -1"),
        ({"reads": "4"}, TypeError, "reads must be an int, got '4'"),
        ({"writes": 0}, ValueError, "writes must be at least 1, got 0"),
        ({"writes": 5}, ValueError, "writes <= reads <= slots must hold, got 5, 4 and 128"),
        ({"slots": 3}, ValueError, "writes <= reads <= slots must hold, got 1, 4 and 3"),
        ({"decay": 1.1}, ValueError, r"decay must lie in \[0, 1\], got 1.1"),
        ({"decay": -0.1}, ValueError, r"decay must lie in \[0, 1\], got -0.1"),
        ({"decay": float("nan")}, ValueError, r"decay must lie in \[0, 1\], got nan"),
        ({"decay": "0.9"}, TypeError, "decay must be a number, got '0.9'"),
        ({"decay": True}, TypeError, "decay must be a number, got True"),
        ({"targets": "each"}, ValueError, "targets must be one of own, shared, got 'each'"),
        ({"ties": "last"}, ValueError, "ties must be one of first, all, got 'last'"),
        ({"controller": "gru"}, ValueError, "controller must be one of lstm, feedforward, got 'gru'"),
        ({"gate": "open"}, ValueError, "gate must be one of controller, learned, got 'open'"),
        ({"write_content": "input"}, ValueError, "write_content must be one of key, separate, got 'input'"),
        ({"order": "read"}, ValueError, "order must be one of write, address, got 'read'"),
        ({"addressing": "dnc"}, ValueError, "addressing must be one of lru, ntm, got 'dnc'"),
        ({"sharpness": 0.0}, ValueError, "sharpness must be positive and finite, got 0.0"),
        ({"sharpness": float("nan")}, ValueError, "sharpness must be positive and finite, got nan"),
        ({"sharpness": float("inf")}, ValueError, "sharpness must be positive and finite, got inf"),
        ({"sharpness": "sharp"}, TypeError, "sharpness must be a number, got 'sharp'"),
        ({"sharpness": True}, TypeError, "sharpness must be a number, got True"),
        ({"addressing": "ntm", "slots": 0}, ValueError, "slots must be at least 1, got 0"),
        *(
            ({"addressing": "ntm", name: value}, ValueError, f"{name}={value!r} plays no part under addressing='ntm'")
            for name, value in {
                "decay": 0.9,
                "erase": False,
                "targets": "shared",
                "ties": "all",
                "gate": "learned",
                "write_content": "separate",
                "sharpness": 2.0,
                "order": "address",
            }.items()
        ),
    ],
)
def test_bad_arguments_are_named(options, error, words):
    with pytest.raises(error, match=words):
        MemoryAugmentedNetwork(**({"input_size": 3, "output_size": 2} | options))


def test_the_ends_of_the_ranges_are_taken():
    for decay in (0, 1):
        assert LeastRecentlyUsedMemory(4, 1, 4, writes=4, decay=decay).decay == decay
    assert TuringMemory(1, 1, 2, writes=3).reads == 2  # more heads than slots
    assert MemoryAugmentedNetwork(3, 2, sharpness=1e-3).sharpness == 1e-3


@pytest.mark.parametrize(
    ("input", "error", "words"),
    [
        (torch.zeros(2, 3), ValueError, r"input must have shape \(time, batch, 3\), got \(2, 3\)"),
        (torch.zeros(2, 4, 5), ValueError, r"input must have shape \(time, batch, 3\), got \(2, 4, 5\)"),
        (torch.zeros(0, 2, 3), ValueError, r"input needs at least one time step, got shape \(0, 2, 3\)"),
        (torch.zeros(2, 4, 3, dtype=torch.long), TypeError, "input is torch.int64, expected torch.float32"),
        (torch.zeros(2, 4, 3).double(), TypeError, "input is torch.float64, expected torch.float32"),
        (torch.zeros(2, 4, 3, device="meta"), ValueError, "input is on meta, expected cpu"),
        ([[1.0]], TypeError, "input must be a tensor, got list"),
    ],
)
def test_bad_input_is_named(input, error, words):
    model = MemoryAugmentedNetwork(3, 2)
    with pytest.raises(error, match=words):
        model(input)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(error, match=words):
        model(input)


def test_what_a_memory_alone_is_told_is_checked():
    memory, state = filled()
    contents, gate, keys = double(2, 1, 3), double(2, 1), double(2, 2, 3)
    for call, error, words in (
        (lambda: memory.write(tuple(state), contents, gate), TypeError, "state must be a MemoryState, got tuple"),
        (lambda: memory.write(state, contents[:1], gate), ValueError, r"contents must have shape \(2, 1, 3\)"),
        (lambda: memory.write(state, contents, gate[:, 0]), ValueError, r"gate must have shape \(2, 1\), got \(2,\)"),
        (
            lambda: memory.write(state, contents.long(), gate),
            TypeError,
            "contents is torch.int64, expected torch.float64",
        ),
        (
            lambda: memory.write(state._replace(usage=gate), contents, gate),
            ValueError,
            r"state.usage must have shape \(2, 7\)",
        ),
        (lambda: memory.read(state, keys[:, :1]), ValueError, r"keys must have shape \(2, 2, 3\), got \(2, 1, 3\)"),
        (lambda: memory.read(state, keys.to("meta")), ValueError, "keys is on meta, expected cpu"),
        (
            lambda: memory.read(state._replace(memory=keys), keys),
            ValueError,
            r"state.memory must have shape \(batch, 7, 3\)",
        ),
        (lambda: memory.read(state, keys, -1.0), ValueError, "sharpness must be positive and finite, got -1.0"),
        (lambda: memory.read(state, keys, gate), ValueError, r"sharpness must have shape \(2, 2\), got \(2, 1\)"),
        (lambda: memory.recall(state, keys), ValueError, r"weights must have shape \(2, 2, 7\), got \(2, 2, 3\)"),
        (lambda: memory.recall(tuple(state), keys), TypeError, "state must be a MemoryState, got tuple"),
    ):
        with pytest.raises(error, match=words):
            call()
    narrow = MemoryState(*(part.float() for part in state))
    with pytest.raises(TypeError, match=r"keys is torch.float64, expected torch.float32"):
        memory.read(narrow, keys)
    with pytest.raises(TypeError, match=r"gate is torch.float64, expected torch.float32"):
        memory.write(narrow, contents.float(), gate)


# Construction


def test_device_and_dtype_are_the_last_arguments_as_for_torchs_layers():
    ours, torchs = (list(inspect.signature(cls).parameters) for cls in (MemoryAugmentedNetwork, torch.nn.LSTMCell))
    assert ours[-2:] == torchs[-2:] == ["device", "dtype"]


@pytest.mark.parametrize("options", [*ADDRESSINGS, {"gate": "learned", "controller": "feedforward"}])
def test_every_parameter_is_made_with_the_dtype_and_on_the_device(options):
    model = MemoryAugmentedNetwork(3, 2, **options, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.float64)}
    state = model.initial_state(2)
    assert {(part.device.type, part.dtype) for part in tensors(state)} == {("meta", torch.float64)}


def test_a_memorys_state_has_the_dtype_asked_for_or_the_default():
    for memory in (LeastRecentlyUsedMemory(), TuringMemory()):
        assert memory.initial_state(1).memory.dtype == torch.float32
        assert memory.initial_state(1, dtype=torch.float64).weights.dtype == torch.float64
        assert memory.initial_state(1, device="meta").memory.is_meta
    torch.set_default_dtype(torch.float64)
    try:
        assert LeastRecentlyUsedMemory().initial_state(1).usage.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
