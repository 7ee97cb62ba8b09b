"""Planted text: marks, the rules of its sentences checked on the plain text, and where rules fall on tokens."""

import random
import re

import numpy as np
import torch

from spd.experiments.language_target import fit_tokenizer
from spd.experiments.planted_rules import NO_RULE, RuledTokens, accuracy_by_rule, best_group_by_rule, ruled_tokens
from spd.experiments.planted_text import RULES, Document, planted_document, read_marks
from spd.experiments.planted_words import CAPITALS, MONTHS, NOUNS, NUMBERS, WEEKDAYS

DOCUMENTS = [planted_document(random.Random(seed)) for seed in range(60)]


def decided(rule: str) -> list[tuple[str, str]]:
    """(the text before the word, the word) at every place of a rule."""
    return [
        (document.text[:start], document.text[start:end])
        for document in DOCUMENTS
        for start, end, name in document.places
        if name == rule
    ]


def test_marks_by_hand() -> None:
    found = read_marks("On Monday, {weekday:Tuesday} and {plural:men}.")
    assert found == Document("On Monday, Tuesday and men.", [(11, 18, "weekday"), (23, 26, "plural")])


def test_every_rule_occurs_and_the_text_has_no_marks() -> None:
    assert {rule for document in DOCUMENTS for _, _, rule in document.places} == set(RULES)
    assert not any(set("{}") & set(document.text) for document in DOCUMENTS)


def test_decided_words_follow_from_the_text_before() -> None:
    for before, word in decided("weekday"):
        named = re.findall("|".join(WEEKDAYS), before)[-1]
        assert word == WEEKDAYS[(WEEKDAYS.index(named) + 1) % 7]
    for before, word in decided("month"):
        assert word == MONTHS[(MONTHS.index(before.split()[-2]) + 1) % 12]
    for before, word in decided("sum"):
        *_, first, _, second, _ = before.split()
        assert NUMBERS.index(word) + 1 == NUMBERS.index(first) + NUMBERS.index(second) + 2
    for before, word in decided("capital"):
        assert word == CAPITALS[before.split()[-2]]
    for before, word in decided("recall"):
        thing = re.findall(r"what colour is the (\w+)\?", before)[-1]
        assert re.search(rf"[Tt]he {thing} is {word}\b", before)
    for before, word in decided("bracket"):
        assert word == {"(": ")", "[": "]", "<": ">"}[re.findall(r"[(\[<]", before)[-1]]
    for before, word in decided("agreement"):
        subject = re.findall(r"The \w+ (\w+) \w+ the \w+ $", before)[-1]
        assert word == ("is" if subject in {one for one, _ in NOUNS} else "are")
    for before, word in decided("family name"):
        name = before.split()[-1]
        assert re.findall(rf"{name} (\w+) spoke", before)[-1] == word


def test_rules_lie_on_the_token_before_the_decided_word() -> None:
    tokenizer = fit_tokenizer([document.text for document in DOCUMENTS], 900)
    end = tokenizer.token_to_id("[EOS]")
    assert end is not None
    ruled = ruled_tokens(tokenizer, end, 20, 32, "seed")
    tokens, rules = ruled.tokens.flatten().tolist(), ruled.next_rule.flatten().tolist()
    names = list(RULES)
    seen = set()
    for here, following, rule in zip(tokens, tokens[1:], rules, strict=False):
        if rule != NO_RULE:
            seen.add(names[rule])
            word = tokenizer.decode([following]).strip()
            if names[rule] == "capital":
                assert any(capital.startswith(word) for capital in CAPITALS.values())
                assert tokenizer.decode([here]).strip() == "is"
            if names[rule] == "agreement":
                assert word in ("is", "are")
    assert len(seen) > 14


def test_accuracy_and_the_best_group_by_hand() -> None:
    tokens = torch.tensor([[0, 1, 2, 3]])
    ruled = RuledTokens(tokens, torch.tensor([[0, 0, NO_RULE, 1]]))
    logits = torch.nn.functional.one_hot(torch.tensor([[1, 3, 3, 0]]), 4).float()
    name = next(iter(RULES))
    assert accuracy_by_rule(logits, ruled)[name] == 0.5
    fires = np.array([[1, 1], [1, 1], [0, 1], [0, 1]], bool)
    assert best_group_by_rule(fires, np.array([0, 0, NO_RULE, NO_RULE]))[name] == (0, 1.0, 1.0)
