"""Every method runs forward and backward on the meta device, where a tensor left on the CPU shows without a GPU.

Plain "meta" lets a CPU operand through in matmul, gather and others; `OneDevice` looks at every operation. What looks
at values, which "meta" has not, runs on the CPU as well, where "meta" is the device of tensors that name none; that
default does not reach into backward passes.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workedpapers.batch_norm import BatchNorm, batch_norm, batch_norm_backward, combine_statistics, fold
from workedpapers.causal_transfer import (
    GaussianMixture,
    MixtureDensityNetwork,
    TabularModel,
    adapt,
    optimal_belief,
    structural_gradient,
    structural_loss,
)
from workedpapers.experiments.fast_weights import Retrieval, RetrievalNetwork
from workedpapers.fast_weights import FastWeights, attend, fast_matrix
from workedpapers.fractional_max_pooling import FractionalMaxPool2d, fractional_max_pool2d, pooling_regions
from workedpapers.memory_augmented import MemoryAugmentedNetwork, cosine_similarity
from workedpapers.mixture_gradients import (
    MixtureMultivariateNormal,
    MixtureNormal,
    leibniz_gradient,
    rao_blackwell_surrogate,
    sampled_leibniz_gradient,
)
from workedpapers.progressive_nets import (
    ProgressiveNetwork,
    average_fisher_sensitivity,
    average_perturbation_sensitivity,
    fisher_information,
)
from workedpapers.recurrent_batch_norm import BatchNormLSTM, population_statistics
from workedpapers.temporal_memory import (
    DifferentiableNeuralComputer,
    Introspection,
    LeastRecentlyUsed,
    NeuralTuring,
    Recurrent,
    TemporalGenerativeModel,
)


class OneDevice(TorchDispatchMode):
    """Refuses an operation whose tensors (scalars aside) or generators, results included, lie on two devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        devices = {
            leaf.device.type
            for leaf in tree_leaves((args, kwargs, result))
            if isinstance(leaf, torch.Generator) or (isinstance(leaf, torch.Tensor) and leaf.dim() > 0)
        }
        if len(devices) > 1 and func is not torch.ops.aten._to_copy.default:
            raise AssertionError(f"{func} mixes devices: {', '.join(sorted(devices))}")
        return result


TEMPORAL_MEMORIES = {
    "Recurrent": lambda width: Recurrent(5, width),
    "Introspection": lambda width: Introspection(5, width, 3, 2, addressing="both"),
    "LeastRecentlyUsed": lambda width: LeastRecentlyUsed(5, width, 4, 3, 2),
    "NeuralTuring": lambda width: NeuralTuring(5, width, 4, 3, 2),
    "DifferentiableNeuralComputer": lambda width: DifferentiableNeuralComputer(5, width, 4, 3, 2),
}


def meta(*sizes):
    return torch.empty(*sizes, device="meta", requires_grad=True)


def run_layer(write, form):
    model = FastWeights(3, 5, write=write, form=form, inner_steps=2, norm_preliminary=True).to("meta")
    output, state = model(meta(2, 4, 3))
    return model(meta(2, 4, 3), state)[0] + output


def run_network(model):
    network = RetrievalNetwork(Retrieval(model=model, hidden_size=8)).to("meta")
    return network(torch.zeros(2, 11, dtype=torch.int64, device="meta"))


def run_norm(training, **options):
    norm = BatchNorm(3, **options).to("meta").train(training)
    return norm(meta(4, 3)).sum() + norm(meta(4, 3, 2, 5)).sum()


def run_fold(layer, *sizes):
    return fold(layer.to("meta"), BatchNorm(6).to("meta").eval())(meta(*sizes))


def run_pooling(training=True, **options):
    pool = FractionalMaxPool2d(output_ratio=0.7, **options).to("meta").train(training)
    return pool(meta(2, 3, 9, 12)).sum() + pool(meta(3, 9, 12)).sum()


def run_recurrent_norm(training, input_size, **options):
    model = BatchNormLSTM(input_size, 5, max_length=3, **options).to("meta").train(training)
    output, state = model(meta(4, 8, input_size))
    return model(meta(4, 8, input_size), state)[0] + output


def run_memory(**options):
    sizes = {"hidden_size": 5, "slots": 6, "width": 4, "reads": 3, "device": "meta"}
    model = MemoryAugmentedNetwork(3, 2, **sizes, **options)
    output, state = model(meta(4, 2, 3))
    return model(meta(4, 2, 3), state.detach())[0] + output


def run_columns(convolutional=False, **options):
    def column(_):
        maps = [torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Conv2d(2, 3, 3), torch.nn.Flatten()]
        units = [torch.nn.Linear(12 if convolutional else 4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 5)]
        return torch.nn.Sequential(*(maps if convolutional else []), *units)

    network = ProgressiveNetwork(column, **options)
    network.add_column("first", 2)
    network.to("meta").add_column("second", 2)
    x = torch.empty(3, *((1, 6, 6) if convolutional else (4,)), device="meta")
    output = network(x, "second", network.features(x, "second")) + network(x.clone().requires_grad_(), "second")
    return output + torch.cat([units for row in fisher_information(network, [x, x], "second") for units in row]).sum()


def run_density(runs):
    net = MixtureDensityNetwork(3, 5, runs=runs).to("meta")
    return net.log_prob(meta(*runs, 4), meta(*runs, 4))


METHODS = {
    **{
        f"FastWeights {write} {form}": lambda write=write, form=form: run_layer(write, form)
        for write in ("after", "delayed", "preliminary")
        for form in ("attention", "matrix")
    },
    "fast_matrix": lambda: fast_matrix(meta(4, 3), 0.9, 0.5),
    "attend": lambda: attend(meta(2, 4, 3), meta(2, 3), 0.9, 0.5),
    "RetrievalNetwork fast_weights": lambda: run_network("fast_weights"),
    "RetrievalNetwork lstm": lambda: run_network("lstm"),
    "RetrievalNetwork irnn": lambda: run_network("irnn"),
    "BatchNorm in training": lambda: run_norm(True),
    "BatchNorm in evaluation": lambda: run_norm(False),
    "BatchNorm without parameters": lambda: run_norm(True, affine=False),
    "BatchNorm without running statistics": lambda: run_norm(False, track_running_stats=False),
    "batch_norm": lambda: batch_norm(meta(4, 3, 5), meta(3), meta(3)),
    "batch_norm_backward": lambda: torch.cat(
        [gradient.flatten() for gradient in batch_norm_backward(meta(4, 3, 5), meta(4, 3, 5), meta(3))]
    ),
    "fold Linear": lambda: run_fold(torch.nn.Linear(4, 6), 2, 4),
    "fold Conv2d": lambda: run_fold(torch.nn.Conv2d(4, 6, 3, bias=False), 2, 4, 5, 5),
    "combine_statistics": lambda: torch.cat(combine_statistics(meta(2), meta(2, 3), meta(2, 3))),
    **{
        f"FractionalMaxPool2d {kind} {overlap} {draw}": lambda options=(kind, overlap, draw): run_pooling(
            **dict(zip(("kind", "overlap", "draw"), options, strict=True))
        )
        for kind in ("pseudorandom", "random")
        for overlap in ("disjoint", "square", "interval")
        for draw in ("batch", "image", "channel")
    },
    **{
        f"BatchNormLSTM {training} {size} {cell}": lambda training=training, size=size, cell=cell: run_recurrent_norm(
            training, size, normalize_cell=cell
        )
        for training in (True, False)
        for size in (1, 3)
        for cell in (True, False)
    },
    "BatchNormLSTM, shared statistics": lambda: run_recurrent_norm(True, 3, statistics="shared", momentum=None),
    "FractionalMaxPool2d in evaluation": lambda: run_pooling(False, deterministic_eval=True),
    **{
        f"MemoryAugmentedNetwork {' '.join(map(str, options.values()))}": lambda options=options: run_memory(**options)
        for options in (
            {"addressing": "lru"},
            {"addressing": "ntm", "writes": 2},
            {"controller": "feedforward", "feedback": False, "gate": "learned"},
            {"targets": "shared", "ties": "all", "writes": 2},
            {"write_content": "separate", "sharpness": "learned", "order": "address", "writes": 3},
        )
    },
    "cosine_similarity": lambda: cosine_similarity(meta(2, 3, 4), meta(2, 5, 4)),
    **{
        f"ProgressiveNetwork {' '.join(map(str, options.values()))}": lambda options=options: run_columns(**options)
        for options in (
            {"gate": -1.0},
            {"lateral": "adapter", "sources": "all"},
            {"lateral": "adapter", "sources": "mixture"},
            {"convolutional": True},
            {"convolutional": True, "lateral": "adapter", "gate": 0.0},
        )
    },
    "MixtureDensityNetwork": lambda: run_density(()),
    "MixtureDensityNetwork, runs": lambda: run_density((2, 3)),
    "GaussianMixture": lambda: GaussianMixture(meta(2, 3), meta(2, 3), meta(2, 3)).log_prob(meta(2, 4)),
    "structural_loss": lambda: structural_loss(meta(3), meta(3), meta(2, 1)),
    "structural_gradient": lambda: structural_gradient(meta(3), meta(3), meta(2, 1)),
    "fractional_max_pool2d": lambda: fractional_max_pool2d(
        meta(2, 3, 9, 12), pooling_regions(9, 6, size=(2, 1)), pooling_regions(12, 7, overlap="interval")
    ),
}


def halves(device, *sizes):
    return torch.full(sizes, 0.5, device=device, requires_grad=True)


def mixture(device, full):
    """With a component that is off."""
    logits = torch.tensor([0.0, 0.5, -torch.inf], device=device).expand(4, 3).clone().requires_grad_()
    if full:
        tril = torch.eye(2, device=device).expand(4, 3, 2, 2).clone().requires_grad_()
        return MixtureMultivariateNormal(logits, halves(device, 4, 3, 2), tril)
    return MixtureNormal(logits, halves(device, 4, 3, 2), halves(device, 4, 3, 2))


def run_surrogate(q):
    x = q.sample((5,)).requires_grad_()
    return rao_blackwell_surrogate(q, x, q.log_prob(x), 0.5)


def run_sampling(device, tail, sampler):
    x, values = halves(device, 4), [halves(device, 4, 3) for _ in range(3)]
    gradients = sampled_leibniz_gradient(x, *values, 5, tail=tail, sampler=sampler)
    return x.sum() + sum(gradient.sum() for gradient in gradients)


MIXTURE_METHODS = {
    **{
        f"{kind} {name}": lambda device, full=full, run=run: run(mixture(device, full))
        for kind, full in (("MixtureNormal", False), ("MixtureMultivariateNormal", True))
        for name, run in {
            "rsample": lambda q: q.rsample((5,)),
            "rsample of nothing": lambda q: q.rsample((0,)),
            "reparameterize far out": lambda q: q.reparameterize(100 * q.loc[:, 0]),
            "log_prob": lambda q: q.log_prob(q.sample()),
            "responsibilities": lambda q: q.responsibilities(q.sample()),
            "mean": lambda q: q.mean,
            "variance": lambda q: q.variance,
            "expand": lambda q: q.expand((2, 4)).rsample(),
            "surrogate": run_surrogate,
        }.items()
    },
    "leibniz_gradient": lambda device: leibniz_gradient(halves(device, 4, 3), halves(device, 4, 1)),
    **{
        f"sampled_leibniz_gradient {tail} {sampler}": lambda device, tail=tail, sampler=sampler: run_sampling(
            device, tail, sampler
        )
        for tail in ("smaller", "larger", "left")
        for sampler in ("exact", "rejection")
    },
}


@pytest.mark.parametrize("name", [name for name in MIXTURE_METHODS if "rejection" not in name])
def test_mixtures_stay_on_the_device_of_the_input_if_every_question_is_answered_yes(name, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: True)  # "meta" has no answer
    with OneDevice():
        output = MIXTURE_METHODS[name]("meta")
        assert output.device.type == "meta"
        output.sum().backward()


@pytest.mark.parametrize("name", MIXTURE_METHODS)
def test_mixtures_make_every_tensor_on_the_device_of_the_input(name):
    with torch.device("meta"), OneDevice():
        assert MIXTURE_METHODS[name]("cpu").device.type == "cpu"


def adaptation(device, batch):
    joint = torch.full((2, 3, 4), 1 / 12, device=device)
    samples = torch.ones(2, 5, batch, 2, dtype=torch.int64, device=device)
    results = [
        adapt(TabularModel.from_joint(joint), samples, lr, joint=joint)
        for lr in (0.5, torch.full((3, 1), 0.5, device=device))
    ]
    return torch.stack([tensor.sum() for tensor in tree_leaves(results)])


def probabilities(device):
    joint = torch.full((2, 3, 4), 1 / 12, device=device)
    model, values = TabularModel.from_joint(joint), torch.ones(2, 5, dtype=torch.int64, device=device)
    return model.log_prob(values, values).sum(1) + model.expected_log_likelihood(joint)


def fitted(device):
    first = GaussianMixture.fit(torch.ones(2, 9, device=device), 3, 2)
    return torch.cat(GaussianMixture.fit(torch.ones(2, 9, device=device), iterations=2, start=first))


TRANSFER_METHODS = {
    "adapt by rows": lambda device: adaptation(device, 1),
    "adapt by counts": lambda device: adaptation(device, 6),
    "TabularModel": probabilities,
    "optimal_belief": lambda device: optimal_belief(torch.ones(2, 9, device=device)),
    "GaussianMixture.fit": fitted,
}


@pytest.mark.parametrize("name", TRANSFER_METHODS)
def test_adaptation_stays_on_the_device_of_the_input_if_every_question_is_answered_yes(name, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: True)  # "meta" has no answer
    with OneDevice():
        assert TRANSFER_METHODS[name]("meta").device.type == "meta"


@pytest.mark.parametrize("name", TRANSFER_METHODS)
def test_adaptation_makes_every_tensor_on_the_device_of_the_input(name):
    with torch.device("meta"), OneDevice():
        assert TRANSFER_METHODS[name]("cpu").device.type == "cpu"


@pytest.mark.parametrize("name", METHODS)
def test_forward_and_backward_stay_on_the_device_of_the_input(name):
    with OneDevice():
        output = METHODS[name]()
        assert output.device.type == "meta"
        output.sum().backward()


LAYERS = {
    "MixtureDensityNetwork": lambda device: MixtureDensityNetwork(2, 4, runs=(2, 3), device=device),
    "MemoryAugmentedNetwork lru": lambda device: MemoryAugmentedNetwork(3, 2, gate="learned", device=device),
    "MemoryAugmentedNetwork ntm": lambda device: MemoryAugmentedNetwork(3, 2, addressing="ntm", device=device),
    "FastWeights attention": lambda device: FastWeights(3, 5, device=device),
    "FastWeights matrix": lambda device: FastWeights(3, 5, form="matrix", device=device),
    "BatchNorm": lambda device: BatchNorm(3, device=device),
    "BatchNormLSTM": lambda device: BatchNormLSTM(3, 5, max_length=2, device=device),
    "BatchNormLSTM from the identity": lambda device: BatchNormLSTM(
        3, 5, max_length=2, hidden_init="identity", device=device
    ),
}


@pytest.mark.parametrize(("default", "device"), [("cpu", "meta"), ("meta", "cpu")])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_made_and_run_on_the_device_they_are_given(name, default, device):
    with torch.device(default), OneDevice():
        layer = LAYERS[name](device)
        layer.reset_parameters()
        output = layer(torch.ones(2, 3, 3, device=device))
    values = [*layer.parameters(), *layer.buffers(), *tree_leaves(output)]
    assert {value.device.type for value in values} == {device}


@pytest.mark.parametrize("options", [{}, {"lateral": "adapter", "gate": 1.0}, {"sources": "mixture"}])
def test_columns_leave_the_default_device_alone(options):
    with torch.device("meta"), OneDevice():
        network = ProgressiveNetwork(
            lambda _: torch.nn.Sequential(torch.nn.Linear(4, 5, device="cpu"), torch.nn.ReLU()), **options
        )
        network.add_column("first", 2)
        network.add_column("second", 2)
        x = torch.ones(3, 4, device="cpu")
        output = network(x, "second", network.features(x, "second"))
        shares = average_fisher_sensitivity(network, [x, x], "second")
        noise = average_perturbation_sensitivity(network, lambda predict: 1.0 + 0 * len(predict(x)), "second")
    values = [*network.parameters(), *network.buffers(), output, shares, noise]
    assert {value.device.type for value in values} == {"cpu"}


@pytest.mark.parametrize("input_size", [1, 3])
def test_lengths_and_population_statistics_leave_the_default_device_alone(input_size):
    with torch.device("meta"), OneDevice():
        model = BatchNormLSTM(input_size, 5, max_length=3, device="cpu")
        x, lengths = torch.ones(4, 8, input_size, device="cpu"), torch.tensor([3, 4, 1, 1, 2, 2, 2, 1], device="cpu")
        population_statistics(model, [x, (x, None, lengths)])
        for training in (True, False):
            output, state = model.train(training)(x, None, lengths)
            assert {value.device.type for value in (output, *state)} == {"cpu"}
            output.sum().backward()


@pytest.mark.parametrize(
    "stray",
    [
        lambda x: x @ torch.ones(3, 2),
        lambda x: x + torch.ones(3),
        lambda x: x.gather(0, torch.zeros(1, 3, dtype=torch.int64)),
        lambda x: x.index_select(0, torch.zeros(1, dtype=torch.int64)),
        lambda x: torch.zeros(2, 3).copy_(x.detach()),
        lambda x: torch.rand(2, 3, device="meta", generator=torch.Generator()) * x,
    ],
)
def test_a_tensor_left_on_the_cpu_is_noticed(stray):
    with pytest.raises((AssertionError, RuntimeError)), OneDevice():
        stray(meta(2, 3))


def test_moving_a_tensor_and_scalars_are_let_through():
    with OneDevice():
        assert (torch.ones(3).to("meta") * torch.tensor(2.0)).device.type == "meta"


@pytest.mark.parametrize(
    "stray", [lambda x: x + torch.ones(3), lambda x: x @ torch.ones(3, 2), lambda x: x[torch.arange(2)]]
)
def test_a_tensor_that_names_no_device_is_noticed_on_the_cpu(stray):
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)), torch.device("meta"), OneDevice():
        stray(halves("cpu", 2, 3))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "categorical"])
@pytest.mark.parametrize("memory", TEMPORAL_MEMORIES)
@pytest.mark.parametrize(("default", "device"), [("cpu", "meta"), ("meta", "cpu")])
def test_temporal_models_stay_on_the_device_of_their_parameters(memory, likelihood, default, device):
    options = {"likelihood": likelihood, "carry": "both", "context_size": 1, "code_size": 3}
    model = TemporalGenerativeModel(6, 2, TEMPORAL_MEMORIES[memory](5), **options).to(device)
    symbols = likelihood == "categorical"
    x = torch.zeros((4, 2) if symbols else (4, 2, 6), device=device, dtype=torch.int64 if symbols else torch.float32)
    context = torch.zeros(4, 2, 1, device=device)
    with torch.device(default), OneDevice():
        bound = model(x, context)
        bound.total.sum().backward()
        made = [model.generate(x[:2], 2, context, expected=expected) for expected in (False, True)]
        nearer = model.importance_bound(x, 3, context)
    gradients = [parameter.grad for parameter in model.parameters()]
    assert {tensor.device.type for tensor in [*bound, *made, nearer, *gradients]} == {device}
