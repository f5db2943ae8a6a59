"""The networks that the memory is compared with; each takes (time, batch, input) and answers at every step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Recurrent(nn.Module):
    """torch's LSTM and a linear layer.

    Args: scale: of the starting weights of the LSTM, beside torch's.
    """

    def __init__(self, input_size: int, output_size: int, hidden_size: int, scale: float = 1.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size)
        with torch.no_grad():
            for name, weight in self.lstm.named_parameters():
                if name.startswith("weight"):
                    weight.mul_(scale)
        self.output = nn.Linear(hidden_size, output_size)

    def forward(self, input: Tensor) -> Tensor:
        """Logits, (time, batch, output)."""
        answers: Tensor = self.output(self.lstm(input)[0])
        return answers


class FeedForward(nn.Module):
    """Two rectified layers that see one step."""

    def __init__(self, input_size: int, output_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, output_size),
        )

    def forward(self, input: Tensor) -> Tensor:
        """Logits, (time, batch, output)."""
        answers: Tensor = self.layers(input)
        return answers


class Transformer(nn.Module):
    """A causal transformer with learned positions: torch's encoder layers, normalised before each part.

    Args: width: of a step, a multiple of the four heads; length: of the longest sequence.
    """

    def __init__(self, input_size: int, output_size: int, width: int, length: int, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Linear(input_size, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, 1, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.output = nn.Linear(width, output_size)

    def forward(self, input: Tensor) -> Tensor:
        """Logits, (time, batch, output)."""
        embedded = self.embedding(input) + self.position[: len(input)]
        mask = nn.Transformer.generate_square_subsequent_mask(len(input), device=input.device)
        answers: Tensor = self.output(self.encoder(embedded, mask, is_causal=True))
        return answers


class Matching(nn.Module):
    """Nearest neighbours that are learned: attention over the earlier drawings of the episode, by cosine.

    The idea of matching networks (Vinyals et al. 2016), with one embedding of two layers. It is told what the others
    have to find out: that the label of a step arrives at the next one.

    Args: drawing_size: so many inputs, the first, are the drawing; the rest is the label of the step before.
    """

    def __init__(self, drawing_size: int, hidden_size: int) -> None:
        super().__init__()
        self.drawing_size = drawing_size
        self.embedding = nn.Sequential(
            nn.Linear(drawing_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size)
        )
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, input: Tensor) -> Tensor:
        """Logarithms of the shares of attention that go to each value of each digit, (time, batch, output)."""
        drawings, labels = input.split((self.drawing_size, input.shape[-1] - self.drawing_size), -1)
        embedded = F.normalize(self.embedding(drawings), dim=-1).transpose(0, 1)
        scores = self.sharpness * embedded @ embedded.mT  # (batch, time, time)
        past = torch.ones_like(scores[0], dtype=torch.bool).tril(-1)
        weights = scores.masked_fill(~past, -torch.inf)[:, 1:].softmax(-1)
        known = labels.transpose(0, 1).roll(-1, 1)  # the label of a step arrives at the next one
        found = F.pad(weights @ known, (0, 0, 1, 0))  # nothing is known at the first step
        return (found + 1e-4).log().transpose(0, 1)
