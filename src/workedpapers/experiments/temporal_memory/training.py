"""Generative models of sequences that repeat themselves, trained on some images and tested on others."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workedpapers.lab import progress
from workedpapers.tasks import sequences
from workedpapers.tasks.images import digits, mnist
from workedpapers.tasks.omniglot import features, omniglot, split_alphabets, with_rotations
from workedpapers.tasks.retrieval import SYMBOLS, associative_stream
from workedpapers.tasks.sequences import Episodes
from workedpapers.temporal_memory import (
    Addressing,
    Bound,
    Carry,
    DifferentiableNeuralComputer,
    Introspection,
    LeastRecentlyUsed,
    Likelihood,
    NeuralTuring,
    Recurrent,
    TemporalGenerativeModel,
)

PIXELS = {"digits": 64, "mnist": 196, "omniglot": 196}  # of a frame, by stock
RING, WINDOW = 16, 4  # of the panorama
HELD_OUT = 6  # alphabets to test on
TEST_SEED = 1_000_000
TESTED = 1000  # sequences, the same for all
POINTS = 20  # of a training curve
WEIGHTED = 200  # sequences of the importance-weighted bound
SHOWN = 4  # sequences whose continuations are kept
CLIPPED = 1.0  # norm of the gradient
WARM, COOL = 50, 0.3  # updates in which the rate rises; last part of them in which it falls to nothing


@dataclass(frozen=True)
class Temporal:
    """A model, its sequences and its training.

    Args:
        task: "recall", "parity", "pointer", "cue", "walk" or "panorama" of `tasks.sequences`; "strings" of
            `tasks.retrieval`, the answer at the end.
        stock: images: "digits", "mnist" or "omniglot" (characters of some alphabets, others for the test).
        stored, recalled: frames of either kind; a walk has a map of side `stored` and `recalled` steps; a panorama has
            `recalled` steps; strings `stored` pairs.
        memory: "none", "introspection", "lru", "ntm" or "dnc".
        carry, latent, code: as in `TemporalGenerativeModel`.
        hidden: units of the controller.
        addressing, reads: of the memory; it has as many rows as there are frames, `width` numbers in each slot.
        tape: whether "ntm" begins as a tape, as in `NeuralTuring`.
        answered: a model that need not remember: the answer to the parity is its context.
        scored: frames that the training counts, "all" or those "told" by the past.
        free: nats of KL a frame that cost nothing in training ("free bits").
        learning_rate, updates, batch: of Adam.
        samples: of the importance-weighted bound; none if zero.
        shown: whether to keep attention and continuations.
    """

    task: str = "recall"
    stock: str = "digits"
    stored: int = 6
    recalled: int = 3
    memory: str = "introspection"
    carry: Carry = "sample"
    latent: int = 16
    code: int = 64
    hidden: int = 96
    addressing: Addressing = "lag"
    reads: int = 1
    width: int = 24
    answered: bool = False
    scored: str = "all"
    free: float = 0.0
    learning_rate: float = 0.003
    updates: int = 3000
    batch: int = 32
    samples: int = 0
    shown: bool = False
    tape: bool = True

    @property
    def frames(self) -> int:
        """Of a sequence."""
        more = {"cue": 1, "walk": -self.stored, "panorama": -self.stored, "strings": self.stored + 4 - self.recalled}
        return self.stored + self.recalled + more.get(self.task, 0)


@cache
def stock(name: str, part: str) -> tuple[Tensor, Tensor]:
    """Images of zeros and ones, (size, pixels), and their labels; small digits also moved by a pixel.

    Raises: ValueError: another name.
    """
    if name == "digits":
        images, labels = digits(part)
        padded = F.pad(images, (1, 1, 1, 1))
        moved = [padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
        return (torch.cat(moved) >= 128).float().flatten(1), labels.repeat(9)
    if name == "mnist":
        images, labels = mnist(part)
        return (F.avg_pool2d(images.float(), 2) >= 128).float().flatten(1), labels
    if name == "omniglot":
        known, unknown = split_alphabets(omniglot("background"), HELD_OUT)
        characters = with_rotations(known) if part == "train" else unknown
        there = characters.mask.flatten()  # a prepared file lacks some drawings
        drawn = (features(characters, 14) >= 0.25).float().flatten(0, 1).flatten(1)
        labels = torch.arange(len(characters.images)).repeat_interleave(characters.images.shape[1])
        return drawn[there], labels[there]
    raise ValueError(f"stock must be one of {', '.join(PIXELS)}, got {name!r}")


def draw(config: Temporal, part: str, batch: int, generator: torch.Generator) -> Episodes:
    """Sequences of a task.

    Raises: ValueError: an unknown task.
    """
    stored, recalled = config.stored, config.recalled
    if config.task == "panorama":
        return sequences.panorama(batch, RING, WINDOW, recalled, generator)
    if config.task == "strings":
        seed = int(torch.randint(2**31, (), generator=generator))
        tokens, targets = next(associative_stream(stored, batch, seed=seed))
        frames = torch.cat((tokens, 26 + targets[:, None]), 1).T
        told = torch.zeros(frames.shape, dtype=torch.bool)
        told[-1] = True
        new = torch.zeros_like(told)
        new[: 2 * stored] = True
        return Episodes(frames, new, told)
    images, labels = stock(config.stock, part)
    if config.task == "recall":
        return sequences.recall(images, batch, stored, recalled, generator)
    if config.task == "cue":
        return sequences.cue(images, batch, stored, recalled, generator)
    if config.task == "walk":
        return sequences.walk(images, batch, stored, recalled, generator)
    if config.task == "pointer":
        return sequences.pointer(images, labels, batch, stored, recalled, generator)
    if config.task == "parity":
        return sequences.parity(images, labels, batch, stored, recalled, generator, told=config.answered)
    raise ValueError(f"unknown task {config.task!r}")


def build(config: Temporal) -> TemporalGenerativeModel:
    """The model, before training.

    Raises: ValueError: an unknown stock, memory, carry or addressing.
    """
    if config.stock not in PIXELS:
        raise ValueError(f"stock must be one of {', '.join(PIXELS)}, got {config.stock!r}")
    pixels: int = {"panorama": WINDOW, "strings": len(SYMBOLS)}.get(config.task, PIXELS[config.stock])
    kinds: dict[str, Likelihood] = {"panorama": "gaussian", "strings": "categorical"}
    context = {"walk": 4, "panorama": WINDOW, "parity": 3 if config.answered else 0}.get(config.task, 0)
    widths = {"sample": config.latent, "mean": config.latent, "code": config.code, "both": config.latent + config.code}
    if config.carry not in widths:
        raise ValueError(f"carry must be one of {', '.join(widths)}, got {config.carry!r}")
    width, rows = widths[config.carry], config.frames
    memory: Recurrent
    if config.memory == "none":
        memory = Recurrent(config.hidden, width)
    elif config.memory == "introspection":
        memory = Introspection(config.hidden, width, rows, config.reads, addressing=config.addressing)
    else:
        memories: dict[str, Callable[..., Recurrent]] = {
            "lru": LeastRecentlyUsed,
            "ntm": partial(NeuralTuring, tape=config.tape),
            "dnc": DifferentiableNeuralComputer,
        }
        if config.memory not in memories:
            raise ValueError(f"unknown memory {config.memory!r}")
        memory = memories[config.memory](config.hidden, width, rows, config.width, config.reads)
    return TemporalGenerativeModel(
        pixels,
        config.latent,
        memory,
        likelihood=kinds.get(config.task, "bernoulli"),
        carry=config.carry,
        context_size=context,
        code_size=config.code,
    )


def loss(bound: Bound, episodes: Episodes, config: Temporal) -> Tensor:
    """Minus the bound in nats, a mean over the frames that count.

    Raises: ValueError: `scored` neither "all" nor "told".
    """
    if config.scored not in ("all", "told"):
        raise ValueError(f"scored must be all or told, got {config.scored!r}")
    surprise = bound.kl.clamp(min=config.free) - bound.reconstruction if config.free else -bound.total
    return surprise.mean() if config.scored == "all" else surprise[episodes.told].mean()


def rate(update: int, updates: int) -> float:
    """Share of the learning rate: it rises in `WARM` updates, and falls to zero in the last `COOL` of them."""
    return min(1.0, update / WARM, (updates - update) / (COOL * updates))


def train(config: Temporal, seed: int, device: torch.device) -> tuple[TemporalGenerativeModel, dict[str, object]]:
    """A trained model, and `curve`: [told, new] of `measure` at `POINTS` moments, on sequences of the test's images.

    Raises: ValueError: as `build`, `draw` and `loss`.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = build(config).to(device)
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
        curve: list[list[float]] = []
        test = draw(config, "test", TESTED // 4, torch.Generator().manual_seed(TEST_SEED + 1))
        for update in progress(range(1, config.updates + 1)):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * rate(update, config.updates)
            episodes = _to(draw(config, "train", config.batch, generator), device)
            cost = loss(model(episodes.frames, episodes.context), episodes, config)
            optimizer.zero_grad()
            cost.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIPPED)
            optimizer.step()
            if update * POINTS % config.updates < POINTS:
                found = measure(model, test, device)
                curve.append([float(found["told"]), float(found["new"])])
        return model, {"curve": curve}


def _to(episodes: Episodes, device: torch.device) -> Episodes:
    return _each(episodes, lambda part: part.to(device))


def _each(episodes: Episodes, change: Callable[[Tensor], Tensor]) -> Episodes:
    """Every tensor of the sequences changed."""
    frames, new, told, context = episodes
    return Episodes(change(frames), change(new), change(told), None if context is None else change(context))


@torch.no_grad()
def measure(model: TemporalGenerativeModel, episodes: Episodes, device: torch.device) -> dict[str, float]:
    """Bound and KL of frames told by the past and of new ones, in nats a frame."""
    episodes = _to(episodes, device)
    bound = model(episodes.frames, episodes.context)
    return {
        "told": bound.total[episodes.told].mean().item(),
        "new": bound.total[episodes.new].mean().item(),
        "told_kl": bound.kl[episodes.told].mean().item(),
        "new_kl": bound.kl[episodes.new].mean().item(),
    }


@torch.no_grad()
def run(config: Temporal, seed: int, device: torch.device) -> dict[str, object]:
    """Train, then test on sequences of images that the model has not seen.

    Returns: of `measure`, each in nats a frame; `by_frame`: bound and KL of each; `curve`; `parameters`; `closer`:
        the importance-weighted bound of a whole sequence and the bound itself, if asked; of `show`, if asked.
    """
    with torch.enable_grad():
        model, path = train(config, seed, device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(TEST_SEED)
        test = draw(config, "test", TESTED, torch.Generator().manual_seed(TEST_SEED))
        found: dict[str, object] = {**measure(model, test, device), **path}
        found["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        episodes = _to(test, device)
        bound = model(episodes.frames, episodes.context)
        found["by_frame"] = [bound.total.mean(1).tolist(), bound.kl.mean(1).tolist()]
        if config.samples:
            few = _each(episodes, lambda part: part[:, :WEIGHTED])
            plain = model(few.frames, few.context).total.sum(0).mean().item()
            closer = model.importance_bound(few.frames, config.samples, few.context).mean().item()
            found["closer"] = [plain, closer]
        if config.shown:
            found |= show(model, episodes)
    return found


@torch.no_grad()
def show(model: TemporalGenerativeModel, episodes: Episodes) -> dict[str, object]:
    """Attention over frames, and continuations, for the first sequences of the test.

    Returns: `attention`: of the first, by frame, by row of the memory, the first read head's weights (of Introspection
        the newest row first); `frames`, `continued`: by sequence, frame and pixel, per cent: what was shown, and means
        of what the model goes on with after the new frames.
    """
    x, _, _, context = _each(episodes, lambda part: part[:, :SHOWN])
    weights: list[list[float]] = []
    read = model.memory.read

    def watched(state: Any, hidden: Tensor) -> tuple[Tensor, Any]:
        out, after = read(state, hidden)
        memory = model.memory
        row = memory.weights(state, hidden) if isinstance(memory, Introspection) else after.weights
        weights.append([round(float(w), 3) for w in row[0, 0]])
        return out, after

    if model.memory.reads:
        model.memory.read = watched  # type: ignore[method-assign]
        model(x, context)
        del model.memory.read
    begin = int(episodes.new[:, 0].sum())
    after = model.generate(x[:begin], len(x) - begin, context, expected=True)
    percent = [(100 * part).round().int().transpose(0, 1).tolist() for part in (x, after)]
    return {"attention": weights, "frames": percent[0], "continued": percent[1]}
