"""The network tried beside the regression: a two-way LSTM with self-attention over its words."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models import text
from models.note_diagnosis.features import content

_PADDING, _UNKNOWN = 0, 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the network is made and trained."""

    width: int = 96  #: of a word's vector
    hidden: int = 48  #: of the LSTM, in each direction
    dropout: float = 0.5
    word_dropout: float = 0.3  #: half of it drops the word, half makes it unknown
    epochs: int = 40
    batch: int = 32
    rate: float = 1e-2
    decay: float = 1e-1
    smoothing: float = 0.05
    patience: int = 12  #: epochs without a better validation loss


class SelfAttention(nn.Module):
    """Words -> LSTM -> attention-weighted sum, beside the plain sum of word vectors -> classes."""

    def __init__(self, vocabulary: int, classes: int, recipe: Recipe) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, recipe.width, padding_idx=_PADDING)
        self.lstm = nn.LSTM(recipe.width, recipe.hidden, batch_first=True, bidirectional=True)
        self.query = nn.Linear(2 * recipe.hidden, 64)
        self.score = nn.Linear(64, 1, bias=False)
        self.out = nn.Linear(2 * recipe.hidden + recipe.width, classes)
        self.dropout = nn.Dropout(recipe.dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and attention (B, words) of padded word numbers (B, words)."""
        real = x != _PADDING
        lengths = real.sum(1)
        embedded = self.dropout(self.embedding(x))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        hidden = self.dropout(hidden)
        score = self.score(torch.tanh(self.query(hidden)))[..., 0]
        attention = score.masked_fill(~real, -1e9).softmax(1)
        attended = (attention[..., None] * hidden).sum(1)
        plain = (embedded * real[..., None]).sum(1) / lengths[:, None].sqrt()
        return self.out(self.dropout(torch.cat([attended, plain], 1))), attention


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Turns notes into word numbers; words seen in fewer than two training texts are unknown."""

    index: dict[str, int]

    @classmethod
    def of(cls, notes: Sequence[str]) -> Reader:
        """The vocabulary of the training notes."""
        seen = Counter(chain.from_iterable({w.form for w in content(n)} for n in notes))
        kept = sorted(w for w, n in seen.items() if n >= 2)
        return cls(index={w: i for i, w in enumerate(kept, start=2)})

    def sentences(self, note: str) -> list[list[int]]:
        """Word numbers, a list a sentence."""
        found = [
            [self.index.get(w.form, _UNKNOWN) for w in text.words(note, a, b) if w.form[0].isalnum()]
            for a, b in text.sentences(note)
        ]
        return [s for s in found if s] or [[_UNKNOWN]]


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """(B, longest) word numbers."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[_PADDING] * (longest - len(row))] for row in rows])


def disturbed(sentences: list[list[int]], drop: float, rng: random.Random) -> list[int]:
    """A note's words for one epoch: sentences shuffled, some words dropped, some unknown."""
    order = rng.sample(sentences, len(sentences))
    kept = [w for w in chain.from_iterable(order) if rng.random() > drop / 2]
    return [_UNKNOWN if rng.random() < drop / 2 else w for w in kept] or [_UNKNOWN]


@torch.no_grad()
def logits(net: SelfAttention, rows: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """(B, classes) in evaluation mode."""
    net.eval()
    found: NDArray[np.float64] = net(pad(rows))[0].double().numpy()
    return found


def fit(
    notes: Sequence[str],
    labels: NDArray[np.int64],
    unseen: Sequence[str],
    *,
    classes: int,
    seed: int,
    recipe: Recipe | None = None,
    progress: Callable[[str], None] | None = None,
) -> NDArray[np.float64]:
    """Trains on the notes, stopping early on a tenth of them, and gives the logits (unseen, classes).

    Deterministic for a seed on one thread.
    """
    recipe = recipe or Recipe()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = random.Random(seed)
    order = rng.sample(range(len(notes)), len(notes))
    held, used = order[: len(notes) // 10], order[len(notes) // 10 :]
    reader = Reader.of([notes[i] for i in used])
    read = [reader.sentences(n) for n in notes]
    net = SelfAttention(len(reader.index) + 2, classes, recipe)
    target = torch.tensor(labels)
    quiet = [list(chain.from_iterable(read[i])) for i in held]
    best, kept, waited = float("inf"), net.state_dict(), 0
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    steps = recipe.epochs * -(-len(used) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps)
    for epoch in range(recipe.epochs):
        net.train()
        rng.shuffle(used)
        for at in range(0, len(used), recipe.batch):
            part = used[at : at + recipe.batch]
            x = pad([disturbed(read[i], recipe.word_dropout, rng) for i in part])
            loss = cross_entropy(net(x)[0], target[part], label_smoothing=recipe.smoothing)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        held_loss = float(cross_entropy(torch.tensor(logits(net, quiet)), target[held]))
        waited = 0 if held_loss < best else waited + 1
        if held_loss < best:
            best, kept = held_loss, {k: v.clone() for k, v in net.state_dict().items()}
        if progress:
            progress(f"epoch {epoch + 1}: validation loss {held_loss:.3f}")
        if waited >= recipe.patience:
            break
    net.load_state_dict(kept)
    return logits(net, [list(chain.from_iterable(reader.sentences(n))) for n in unseen])
