"""Where planted rules decide the next token, how often a model follows them, and which groups fire there."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from spd.experiments.planted_text import RULES, Document, planted_document

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NO_RULE = -1


@dataclass(frozen=True)
class RuledTokens:
    """Planted documents as sequences of tokens.

    Attributes:
        tokens: (n, length) int64.
        next_rule: (n, length) int64, the place in RULES of the rule that decides the token after this one, else
            NO_RULE; only the first token of a decided word counts.
    """

    tokens: Tensor
    next_rule: Tensor


def ruled_tokens(tokenizer: "Tokenizer", end_of_text: int, n_documents: int, length: int, seed: str) -> RuledTokens:
    """Fresh documents, each followed by the end of text, in one row that is cut into sequences."""
    rng = random.Random(seed)
    tokens: list[int] = []
    rules: list[int] = []
    for _ in range(n_documents):
        document = planted_document(rng)
        found, decided = _encoded(tokenizer, document)
        tokens += [*found, end_of_text]
        rules += [*decided, NO_RULE]
    n = (len(tokens) - 1) // length
    here = torch.tensor(tokens[: n * length]).reshape(n, length)
    following = torch.tensor(rules[1 : n * length + 1]).reshape(n, length)
    return RuledTokens(here, following)


def _encoded(tokenizer: "Tokenizer", document: Document) -> tuple[list[int], list[int]]:
    """Tokens, and the rule that decides each."""
    encoding = tokenizer.encode(document.text)
    names = list(RULES)
    rule_at = {start: names.index(rule) for start, _, rule in document.places}
    decided = []
    for start, end in encoding.offsets:
        # A token may begin with the space before its word.
        word = start + 1 if document.text[start] == " " and end - start > 1 else start
        decided.append(rule_at.get(word, NO_RULE))
    return encoding.ids, decided


def accuracy_by_rule(logits: Tensor, ruled: RuledTokens) -> dict[str, float]:
    """Share of the places of each rule at which the likeliest next token is the decided one.

    Args:
        logits: (n, length, vocabulary) of the model on `ruled.tokens`.
    """
    right = logits[:, :-1].argmax(-1) == ruled.tokens[:, 1:]
    rule = ruled.next_rule[:, :-1]
    return {name: float(right[rule == place].float().mean()) for place, name in enumerate(RULES)}


def best_group_by_rule(fires: np.ndarray, next_rule: np.ndarray) -> dict[str, tuple[int, float, float]]:
    """For each rule the group whose firing tells its places best, by F1.

    Args:
        fires: (positions, groups) bool.
        next_rule: (positions,), see RuledTokens.

    Returns:
        (group, share of the rule's places on which it fires, share of its firings that are at the rule's places).
    """
    found = {}
    count = fires.sum(0)
    for place, name in enumerate(RULES):
        here = next_rule == place
        hits = fires[here].sum(0)
        score = 2 * hits / np.maximum(count + here.sum(), 1)
        best = int(score.argmax())
        found[name] = (best, float(hits[best] / max(here.sum(), 1)), float(hits[best] / max(count[best], 1)))
    return found
