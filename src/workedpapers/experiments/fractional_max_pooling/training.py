"""One run: a configuration, its network, how it is trained on small pictures.

The paper's network, (f nC2 − FMP)_L − C2 − C1 − output: convolutions of 2×2, the n-th with f · n filters, each followed
by a leaky ReLU and a pooling by about √2 or ∛2, on pictures in a field of zeros. Ours, since the paper's text leaves it
open: stochastic gradient descent with momentum 0.9, batches of 50, a rate that falls to zero and is searched for each
arm. A small Inception-style network stands for what came after.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.batch_norm import BatchNorm
from workedpapers.fractional_max_pooling import (
    Draw,
    FractionalMaxPool2d,
    Kind,
    Overlap,
    fractional_max_pool2d,
    pooling_regions,
)
from workedpapers.lab import Experiment, progress
from workedpapers.tasks.splits import Split

POOLINGS = ("pseudorandom", "random", "fixed", "max")
OVERLAPS: tuple[Overlap, ...] = ("disjoint", "square", "interval")
PASSES = (1, 2, 4, 8, 12, 16, 32)  # over the test images; the paper's number is 12
SLOPE = 1 / 3  # of the leaky ReLU, as in the author's scripts


@dataclass(frozen=True)
class Training:
    """One configuration.

    Args:
        data: "mnist", "fashion-mnist", "digits" or "cifar-10".
        network: "graham" (the paper's) or "inception" (blocks of four branches with batch normalisation).
        filters: f above; for "inception", the channels of the first block.
        layers: poolings L by FMP; for "inception", blocks.
        roots: α is the roots-th root of two.
        pooling: "pseudorandom", "random" or "fixed" (phase 1/2, in training too) regions; "max": 2×2 with stride two
            after every second convolution, and for "inception" wherever the other arms have shrunk by two.
        overlap: "disjoint", "square" or "interval".
        draw: "batch", "image" or "channel" share a draw.
        dropout: share of activations dropped before the last layer, rising linearly from none at the picture.
        augment: strength of a random affine map of every picture, see `Affine`; in testing too, each pass another.
        members: networks, trained one after the other, each a pass of its own.
        learning_rate: of the first update; the rate falls linearly to zero.
        updates, batch_size: of gradient descent.
        train_size, test_size: the first so many images.
        validation: whether the next 2,000 training images are measured as well.
        passes: of each network with anything random over the test images.
    """

    data: str = "mnist"
    network: str = "graham"
    filters: int = 6
    layers: int = 6
    roots: int = 2
    pooling: str = "pseudorandom"
    overlap: Overlap = "square"
    draw: Draw = "image"
    dropout: float = 0.0
    augment: float = 0.0
    members: int = 1
    learning_rate: float = 0.02
    updates: int = 1_000
    batch_size: int = 50
    train_size: int = 1_000
    test_size: int = 2_000
    validation: bool = False
    passes: int = 12


def layer_sizes(layers: int, roots: int) -> list[tuple[int, int]]:
    """Sizes before and after each pooling of the paper's network, from the picture on, eqs. (FMP.11) and (FMP.12).

    Args:
        layers: poolings.
        roots: α = 2^(1 / roots).
    """
    sizes, n_out = [], 2  # what the last convolution of 2×2 makes 1
    for _ in range(layers):
        n_in = max(int(2 ** (1 / roots) * n_out + 0.5), n_out + 1)
        sizes.append((n_in, n_out))
        n_out = n_in + 1  # before the convolution
    return sizes[::-1]


class Fixed(nn.Module):
    """Fractional max-pooling over regions of phase 1/2, always."""

    def __init__(self, n_out: int, overlap: Overlap) -> None:
        super().__init__()
        self.n_out, self.overlap = n_out, overlap

    def forward(self, x: Tensor) -> Tensor:
        """Pool square planes."""
        regions = pooling_regions(x.shape[-1], self.n_out, overlap=self.overlap, phase=0.5)
        return fractional_max_pool2d(x, regions, regions)


class Affine(nn.Module):
    """A random affine map of each picture, a classical augmentation: stretch, slant, turn and shift.

    Args:
        strength: each of the six numbers of the map differs from those of the identity by at most so much; shifts count
            half of the picture's side as one.

    Set `deterministic_eval`, as that of `FractionalMaxPool2d`, to leave pictures alone in evaluation.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength, self.deterministic_eval = strength, False

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same, every picture with a map of its own; zeros come in from outside."""
        if self.deterministic_eval and not self.training:
            return x
        maps = torch.eye(2, 3) + self.strength * (2 * torch.rand(len(x), 2, 3) - 1)
        grid = F.affine_grid(maps.to(x), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


def build(config: Training, channels: int, side: int) -> nn.Sequential:
    """The network of a configuration.

    Args:
        config: which one.
        channels, side: of the pictures.
    Shape: images (N, channels, side, side) → logits (N, 10).
    Raises: ValueError: an unknown network or pooling, or pictures that are larger than the network's field.
    """
    if config.pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {config.pooling!r}")
    if config.network == "graham":
        model = _graham(config, channels, side)
    elif config.network == "inception":
        model = _inception(config, channels, side)
    else:
        raise ValueError(f"network must be one of graham, inception, got {config.network!r}")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=SLOPE if config.network == "graham" else 0.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def _pool(config: Training, n_out: int) -> nn.Module:
    if config.pooling == "fixed":
        return Fixed(n_out, config.overlap)
    kind: Kind = "random" if config.pooling == "random" else "pseudorandom"
    return FractionalMaxPool2d(n_out, kind=kind, overlap=config.overlap, draw=config.draw, deterministic_eval=True)


def _augment(config: Training) -> list[nn.Module]:
    return [Affine(config.augment)] if config.augment else []


def _graham(config: Training, channels: int, side: int) -> nn.Sequential:
    sizes = layer_sizes(config.layers, config.roots)
    field = sizes[0][0] + 1
    if side > field:
        raise ValueError(f"pictures of {side}×{side} do not fit into the field of {field}×{field} of this network")
    before = (field - side) // 2
    after = field - side - before
    layers: list[nn.Module] = [nn.ZeroPad2d((before, after, before, after)), *_augment(config)]
    widths = [channels, *(config.filters * n for n in range(1, config.layers + 3))]
    for n, (a, b) in enumerate(pairwise(widths)):
        if config.dropout and n:
            layers.append(nn.Dropout(config.dropout * n / (config.layers + 2)))
        layers += [nn.Conv2d(a, b, 1 if n == config.layers + 1 else 2), nn.LeakyReLU(SLOPE)]
        if config.pooling == "max" and n < config.layers and n % 2:
            layers.append(nn.MaxPool2d(2))
        elif config.pooling != "max" and n < config.layers:
            layers.append(_pool(config, sizes[n][1]))
    drop = [nn.Dropout(config.dropout)] if config.dropout else []
    return nn.Sequential(*layers, *drop, nn.Flatten(), nn.Linear(widths[-1], 10))


class Block(nn.Module):
    """Four branches side by side, each with batch normalisation and ReLU: 1×1, 3×3, 3×3 twice, 1×1 of the means."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()

        def conv(a: int, b: int, side: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, side, padding=side // 2, bias=False), BatchNorm(b), nn.ReLU()]

        quarter, eighth = features // 4, features // 8
        self.branches = nn.ModuleList(
            [
                nn.Sequential(*conv(channels, quarter, 1)),
                nn.Sequential(*conv(channels, quarter, 1), *conv(quarter, 2 * quarter, 3)),
                nn.Sequential(*conv(channels, eighth, 1), *conv(eighth, eighth, 3), *conv(eighth, eighth, 3)),
                nn.Sequential(nn.AvgPool2d(3, 1, 1), *conv(channels, features - 3 * quarter - eighth, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) → (N, features, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def _inception(config: Training, channels: int, side: int) -> nn.Sequential:
    """Blocks with a pooling between neighbours; side shrinks by four from the first to the last."""
    layers = _augment(config)
    poolings = config.layers - 1
    for n in range(config.layers):
        after = round(side / 4 ** (n / poolings))
        if n and config.pooling != "max":
            layers.append(_pool(config, after))
        elif n and 2 * n % poolings == 0:  # halfway and at the end
            layers.append(nn.MaxPool2d(2))
        features = round(config.filters * 4 ** (n / poolings) / 8) * 8
        layers.append(Block(channels, features))
        channels = features
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def multiplications(model: nn.Module, shape: Sequence[int]) -> int:
    """Multiplications of the convolutions and linear layers for one input of a shape (channels, height, width)."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        weight: Tensor = module.weight  # type: ignore[assignment]
        total += weight[0].numel() * output[0].numel()

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        model(torch.zeros(2, *shape))
    for handle in handles:
        handle.remove()
    return total


def predict(model: nn.Module, images: Tensor, passes: int) -> Tensor:
    """Class probabilities of each pass, every one with regions of its own, shape (passes, images, classes).

    The model stays in training mode or evaluation, as it is.
    """
    with torch.no_grad():
        return torch.stack(
            [torch.cat([model(part) for part in torch.split(images, 500)]).softmax(-1) for _ in range(passes)]
        )


def by_passes(probabilities: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """What averaging the probabilities of n passes gives, for each n of `PASSES`, in the mean over groups of n.

    Returns: `curve_passes`: n; `curve_error`: error, %; `curve_nats`: cross-entropy; `curve_brier`: squared distance
        of the averaged probabilities from the one-hot label, which falls exactly as a + b / n (FMP.14).
    """
    passes = len(probabilities)
    curves: dict[str, list[float]] = {f"curve_{name}": [] for name in ("passes", "error", "nats", "brier")}
    target = F.one_hot(labels, probabilities.shape[-1])
    for n in (n for n in PASSES if n <= passes):
        groups = probabilities[: passes // n * n].reshape(-1, n, *probabilities.shape[1:]).mean(1)
        curves["curve_passes"].append(n)
        curves["curve_error"].append(100 * float((groups.argmax(-1) != labels).double().mean()))
        likelihood = groups.gather(-1, labels.expand(len(groups), -1).unsqueeze(-1)).clamp_min(1e-12)
        curves["curve_nats"].append(-float(likelihood.log().mean()))
        curves["curve_brier"].append(float((groups - target).square().sum(-1).double().mean()))
    return curves


def flips(model: nn.Module, images: Tensor, seed: int) -> float:
    """Share of predictions, in percent, that change when the picture moves by one pixel to the right; same regions."""
    moved = F.pad(images, (1, -1))
    answers = []
    for pictures in (images, moved):
        torch.manual_seed(seed)
        answers.append(predict(model, pictures, 1)[0].argmax(-1))
    return 100 * float((answers[0] != answers[1]).double().mean())


def set_regions(model: nn.Module, fixed: bool) -> None:
    """Whether a model in evaluation pools over fixed regions and leaves pictures alone, or draws anew."""
    for module in model.modules():
        if isinstance(module, FractionalMaxPool2d | Affine):
            module.deterministic_eval = fixed


def train(config: Training, seed: int, device: torch.device) -> dict[str, object]:
    """Train the networks of a configuration; the metrics of the row.

    Returns: `curve_…` of `by_passes` on the test images; `test_error` (%), that of one pass, and `vote_error`, that of
        twelve (or of all, if fewer); `fixed_error`: one pass with regions of phase 1/2 and without augmentation;
        `train_error`, `train_nats`: one pass over the first 2,000 training images without dropout; `flips`: see there;
        if asked for, `validation_error` and `validation_vote`; `multiplications` for a picture and `parameters`, of one
        network; `loss`: mean of the last 50 updates. What needs one network only is that of the first.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        whole, test = Split.load(config.data, "train", device), Split.load(config.data, "test", device)
        part, test = whole.cut(slice(config.train_size)), test.cut(slice(config.test_size))
        shape = part.images.shape[1:]
        order = torch.Generator().manual_seed(seed)
        models, losses = [], []
        for _ in range(config.members):
            models.append(build(config, *shape[:2]).to(device))
            losses.append(_fit(models[-1], config, part.batches(config.batch_size, order)))
        first = models[0]
        set_regions(first, fixed=True)
        fixed = by_passes(predict(first, test.images, 1), test.labels)["curve_error"][0]
        set_regions(first, fixed=False)
        random = config.augment or config.pooling in ("pseudorandom", "random")
        passes = config.passes if random else 1
        curves = by_passes(torch.cat([predict(model, test.images, passes) for model in models]), test.labels)
        seen = part.cut(slice(2_000))
        on_seen = by_passes(predict(first, seen.images, 1), seen.labels)
        metrics: dict[str, object] = {
            "test_error": curves["curve_error"][0],
            "vote_error": curves["curve_error"][_vote(curves)],
            "fixed_error": fixed,
            "train_error": on_seen["curve_error"][0],
            "train_nats": on_seen["curve_nats"][0],
            "flips": flips(first, test.images, seed),
            "loss": losses[0],
            "multiplications": multiplications(first, shape),
            "parameters": sum(parameter.numel() for parameter in first.parameters()),
        }
        if config.validation:
            held = whole.cut(slice(config.train_size, config.train_size + 2_000))
            on_held = by_passes(torch.cat([predict(model, held.images, passes) for model in models]), held.labels)
            metrics["validation_error"] = on_held["curve_error"][0]
            metrics["validation_vote"] = on_held["curve_error"][_vote(on_held)]
        return metrics | curves


def _fit(model: nn.Module, config: Training, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
    """Train one network and put it in evaluation; its loss, mean of the last 50 updates."""
    optimizer = torch.optim.SGD(model.parameters(), lr=config.learning_rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / config.updates)
    losses: list[float] = []
    for _ in progress(range(config.updates), f"{config.pooling} {config.overlap}"):
        images, labels = next(batches)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
    model.eval()
    return sum(losses[-50:]) / len(losses[-50:])


def _vote(curves: dict[str, list[float]]) -> int:
    """Where in curves by passes twelve passes are, or the last."""
    return max(i for i, n in enumerate(curves["curve_passes"]) if n <= 12)


RATES = (0.02, 0.04)
SEARCH_SEED = (100,)  # no other table uses it


def trainings(book: Sequence[Training], seeds: Sequence[int] = range(5)) -> Experiment[Training]:
    """A table of this task: its configurations at scale `book`, and their seeds."""
    return Experiment("fractional_max_pooling", Training, train, {"book": book}, {"book": seeds})


def searched(best: Mapping[Training, float], rates: Sequence[float] = RATES) -> Experiment[Training]:
    """The search for the learning rate of each arm, by validation error after twelve passes.

    It goes on from some rates by doubling or halving until the best has a worse neighbour on either side.

    Args:
        best: what it chose.
        rates: where it starts.
    """
    return trainings(
        [
            replace(arm, learning_rate=rate, validation=True, passes=12)
            for arm, chosen in best.items()
            for rate in sorted({*rates, chosen / 2, chosen, 2 * chosen})
        ],
        SEARCH_SEED,
    )


def tuned(rates: Mapping[Training, float], seeds: Sequence[int] = range(5)) -> Experiment[Training]:
    """The table of some arms, each at its rate."""
    return trainings([replace(arm, learning_rate=rate) for arm, rate in rates.items()], seeds)
