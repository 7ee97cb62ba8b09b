"""A small Llama-like language model, trained on a text that fits in memory, that does little at a time.

1. Tokenizer: byte-level BPE, fitted to the text.
2. Loss: cross-entropy of the next token, plus penalties on the absolute values of the MLPs' neurons and of the queries,
   keys and values of attention. The penalties cost some accuracy and make the network do its work in few steps at a
   time, which is what a sparse decomposition can find. They come in late: before it is learned, attention over a
   distance would not be worth its penalty.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spd.experiments.decompose import Report, cosine
from spd.models.targets.llama_simple import Block, LlamaSimple, LlamaSimpleConfig, PlainMLP

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN, END_OF_TEXT = "[UNK]", "[EOS]"


@dataclass(frozen=True)
class LanguageTraining:
    """Shape of the target, and what it is trained with.

    Attributes:
        vocab_size: tokens.
        n_ctx: tokens of a sequence.
        n_embd, n_intermediate, n_layer, n_head, n_key_value_heads: as in the model's config.
        steps, batch_size, learning_rate, weight_decay: of AdamW.
        activation_penalty: of the MLPs' neurons, by their mean absolute values.
        attention_penalty: of the queries, keys and values, likewise.
        balance: how much more of it falls on units that are in use everywhere, see _use.
        penalty_start, penalty_full: shares of the steps after which the penalties set in, and count in full.
        seed: of batches and initial values.
    """

    vocab_size: int = 2000
    n_ctx: int = 64
    n_embd: int = 64
    n_intermediate: int = 192
    n_layer: int = 2
    n_head: int = 4
    n_key_value_heads: int = 4
    steps: int = 7000
    batch_size: int = 16
    learning_rate: float = 4e-3
    weight_decay: float = 0.1
    activation_penalty: float = 2e-2
    attention_penalty: float = 3e-3
    balance: float = 0.02
    penalty_start: float = 0.25
    penalty_full: float = 0.5
    seed: int = 0

    def penalty_share(self, step: int) -> float:
        """How much of the penalties counts at a step: nothing at first, so that what takes long to learn is learned."""
        ramp = (step / self.steps - self.penalty_start) / (self.penalty_full - self.penalty_start)
        return min(1.0, max(0.0, ramp))

    def model_config(self) -> dict[str, Any]:
        """The content of model_config.yaml, with the keys of SPD's own trainer."""
        names = ("vocab_size", "n_ctx", "n_embd", "n_intermediate", "n_layer", "n_head", "n_key_value_heads")
        given = asdict(self)
        return {
            "model_type": "LlamaSimpleMLP",
            "block_size": self.n_ctx,
            **{name: given[name] for name in names},
            "attn_bias": False,
            "mlp_bias": True,
            "rms_norm_eps": 1e-6,
            "rotary_adjacent_pairs": False,
            "rotary_base": 10000,
            "use_grouped_query_attention": True,
        }


def fit_tokenizer(texts: Iterable[str], vocab_size: int) -> "Tokenizer":
    """Byte-level BPE."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[UNKNOWN, END_OF_TEXT], show_progress=False, initial_alphabet=[]
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: "Tokenizer", texts: list[str]) -> Tensor:
    """All texts in one row of tokens, each followed by the end of text."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    return torch.tensor([token for found in tokenizer.encode_batch(texts) for token in [*found.ids, end]])


def draw_windows(tokens: Tensor, batch_size: int, length: int, generator: torch.Generator) -> Tensor:
    """(batch, length): windows at random places."""
    starts = torch.randint(len(tokens) - length + 1, (batch_size,), generator=generator)
    return tokens[starts[:, None] + torch.arange(length)]


def train_language_model(config: LanguageTraining, tokens: Tensor, report: Report) -> LlamaSimple:
    """Train the target from scratch on a row of tokens."""
    generator = torch.Generator().manual_seed(config.seed)
    model = _untrained(config, generator)
    neurons, channels = _record_neurons(model), _record_channels(model)
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 100) * cosine(step / config.steps, 0.02)
    )
    for step in range(config.steps):
        x = draw_windows(tokens, config.batch_size, config.n_ctx + 1, generator)
        neurons.clear()
        channels.clear()
        loss = next_token_loss(model(x[:, :-1])[0], x[:, 1:])
        penalty = config.activation_penalty * _use(neurons, config.balance)
        penalty = penalty + config.attention_penalty * _use(channels, config.balance)
        optimiser.zero_grad()
        torch.autograd.backward(loss + config.penalty_share(step) * penalty)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 250 == 0 or step + 1 == config.steps:
            report(
                f"target: step {step + 1} of {config.steps}: cross-entropy {float(loss.detach()):.3f},"
                f" {_above(neurons):.1f} neurons and {_above(channels):.1f} channels of attention above 0.1"
            )
    for module in model.modules():
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    return model.eval().requires_grad_(False)


def next_token_loss(logits: Tensor, following: Tensor) -> Tensor:
    """Mean cross-entropy in nats: logits (batch, seq, vocab), following (batch, seq)."""
    return nn.functional.cross_entropy(logits.flatten(0, -2), following.flatten())


def _record_neurons(model: LlamaSimple) -> list[Tensor]:
    """A list that every forward pass adds the MLPs' activations to."""
    found: list[Tensor] = []

    def record(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        found.append(args[0])

    for block in model.h:
        _mlp(block).down_proj.register_forward_pre_hook(record)
    return found


def _record_channels(model: LlamaSimple) -> list[Tensor]:
    """A list that every forward pass adds the queries, keys and values to."""
    found: list[Tensor] = []

    def record(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(output)

    for name, module in model.named_modules():
        if name.endswith(("q_proj", "k_proj", "v_proj")):
            module.register_forward_hook(record)
    return found


def _use(found: list[Tensor], balance: float) -> Tensor:
    """Sum over units of u (1 + balance n u), u a unit's mean absolute value over the batch and n the number of units.

    The square falls on units that are in use everywhere: the work goes to more units, each for fewer tokens.
    """
    use = torch.cat([values.abs().flatten(0, -2).mean(0) for values in found])
    return (use * (1 + balance * len(use) * use)).sum()


def _above(found: list[Tensor]) -> float:
    """How many values are above 0.1 at a token, in the mean."""
    return sum(float((values.detach().abs() > 0.1).sum(-1).float().mean()) for values in found)


def _mlp(block: nn.Module) -> PlainMLP:
    assert isinstance(block, Block)
    assert isinstance(block.mlp, PlainMLP)
    return block.mlp


def _untrained(config: LanguageTraining, generator: torch.Generator) -> LlamaSimple:
    """Random weights, norms at 1, biases at 0; what writes to the residual stream starts at half size."""
    model = LlamaSimple(LlamaSimpleConfig.model_validate(config.model_config()), PlainMLP)
    model.lm_head.weight = model.wte.weight
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            scale = 0.05 if name == "wte.weight" else 1 / math.sqrt(parameter.shape[1])
            scale *= 0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model
