"""Self-contrast of a mixture of experts: push the model's logits away from those under a poorer routing.

Unchosen Experts Can Contribute Too: Unleashing MoE Models' Power by Self-Contrast (2024, arXiv:2405.14507).
Every token is computed twice by the same weights: with the model's own routing (strong), and with a routing that runs a
lower-ranked expert alone (weak). The tokens that the strong pass finds plausible are ranked by the contrast of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from transformers import DynamicCache, LogitsProcessor, PreTrainedModel

from polyculture.errors import BadInput
from polyculture.llm.routing import Gates, RandomExpert, Ranks, Route


def contrast(
    z_strong: torch.Tensor,
    z_weak: torch.Tensor,
    *,
    beta: float = 0.5,
    alpha: float = 0.1,
    strong_temperature: float = 1.0,
    weak_temperature: float = 1.0,
) -> torch.Tensor:
    """Contrast logits: (1 + beta) z_strong / t_s - beta z_weak / t_w where the strong pass allows it (section 3.1).

    A token is allowed if z_strong / t_s >= ln(alpha) + max z_strong / t_s: at least alpha times as likely as the
    likeliest. Ties at the threshold are kept. A constant added to either input changes no choice.

    Args:
        z_strong: (B, V) logits before softmax; -inf is a banned token, which stays banned.
        z_weak: (B, V) logits of the weak pass.
        beta: strength of the contrast, at least 0; 0 leaves the strong logits.
        alpha: plausibility, in (0, 1]; 1 keeps only the likeliest token and its ties.
        strong_temperature: divides the strong logits, for the threshold too.
        weak_temperature: divides the weak logits.

    Returns:
        (B, V) logits of the dtype of ``z_strong``, -inf outside the plausible set.

    Raises:
        BadInput: an option is out of range, the shapes differ, or a strong row has no finite logit or holds nan.
    """
    _check_options(beta, alpha, strong_temperature, weak_temperature)
    if z_strong.shape != z_weak.shape or z_strong.ndim == 0 or z_strong.shape[-1] == 0:
        raise BadInput(f"strong and weak logits should have one shape, not {z_strong.shape} and {z_weak.shape}")
    dtype = torch.promote_types(z_strong.dtype, torch.float32)  # half precision would move the threshold
    strong = z_strong.to(dtype) / strong_temperature
    top = strong.amax(-1, keepdim=True)
    if not bool(torch.isfinite(top).all()):
        raise BadInput("contrast: a row of strong logits is all -inf, or holds nan or inf; each needs one finite logit")
    plausible = (strong >= top + math.log(alpha)) & (strong > -torch.inf)
    if beta == 0:
        return strong.masked_fill(~plausible, -torch.inf).to(z_strong.dtype)
    contrasted = (1 + beta) * strong - (beta / weak_temperature) * z_weak.to(dtype)
    return torch.where(plausible, contrasted, -torch.inf).to(z_strong.dtype)


class WeakPass:
    """Next-token logits of a model under another routing, with a key-value cache of its own.

    Whatever sequence it is given, it computes only the tokens it has not seen: sequences that grow by a few tokens,
    and rows that change places as in beam search, reuse the cache; anything else starts afresh. The weak routing holds
    from the first token of the prompt.

    Args:
        model: a causal language model.
        route_at: the route for a sequence of a given length, or None for the model as it is.
    """

    def __init__(self, model: PreTrainedModel, route_at: Callable[[int], Route] | None = None) -> None:
        self.model = model
        self.route_at = route_at
        self._gates = Gates(model) if route_at is not None else None
        self.reset()

    def reset(self) -> None:
        """Forget every sequence and free the cache."""
        self._cache: DynamicCache | None = None
        self._ids: torch.Tensor | None = None
        self._mask: torch.Tensor | None = None

    def __repr__(self) -> str:
        return f"WeakPass({type(self.model).__name__}, {self._gates})"

    @torch.no_grad()
    def logits(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T) token ids to (B, V) logits of the next token.

        Args:
            input_ids: (B, T), padded on the left.
            attention_mask: (B, T or fewer) zeros on the padding; what it does not cover is attended to.
        """
        mask = torch.ones_like(input_ids)
        if attention_mask is not None:
            mask[:, : attention_mask.shape[1]] = attention_mask.to(mask)
        seen = self._seen(input_ids, mask)
        if seen == 0:
            self._cache = DynamicCache(config=self.model.config)
        self._ids, self._mask = input_ids.clone(), mask
        positions = (mask.cumsum(-1) - 1).clamp_min(0)

        def forward() -> torch.Tensor:
            output = self.model(
                input_ids=input_ids[:, seen:],
                attention_mask=mask,
                position_ids=positions[:, seen:],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
                return_dict=True,
            )
            return output.logits[:, -1]

        try:
            if self._gates is None or self.route_at is None:
                return forward()
            with self._gates.routed(self.route_at(input_ids.shape[1])):
                return forward()
        except BaseException:
            self.reset()  # a cache that holds half of the layers must not be used again
            raise

    def _seen(self, ids: torch.Tensor, mask: torch.Tensor) -> int:
        """How many tokens of ``ids`` the cache holds, after giving its rows the order of ``ids``."""
        if self._cache is None or self._ids is None or self._mask is None:
            return 0
        rows, length = self._ids.shape
        if ids.shape[0] != rows or ids.shape[1] <= length:
            return 0
        mine, theirs = torch.cat([self._ids, self._mask], 1), torch.cat([ids[:, :length], mask[:, :length]], 1)
        if torch.equal(mine, theirs):
            return length
        same = (theirs.unsqueeze(1) == mine.unsqueeze(0)).all(-1)
        if not bool(same.any(1).all()):
            return 0
        self._cache.reorder_cache(same.to(torch.uint8).argmax(1))
        return length


class SelfContrast(LogitsProcessor):
    """SCMoE inside ``model.generate(logits_processor=[SelfContrast(model)])``.

    ``generate`` runs the strong pass; this runs the weak one beside it, on the same weights, and contrasts the two.
    Greedy search picks the largest contrast logit; with ``do_sample`` the temperature and truncations of ``generate``
    come after the contrast. Wrap the call in ``routing(model, [1, 2, 3])`` for another strong routing.

    Padding on the left is recognised by ``pad_token_id`` of the generation config, unless that also begins a sequence;
    give ``attention_mask`` if prompts may begin with that token. ``weak_pass.reset()`` frees the last cache.

    Args:
        model: the mixture of experts that ``generate`` is called on.
        beta: strength of the contrast, at least 0. The paper searches 0.1 to 0.9.
        alpha: how likely a token must be beside the likeliest, in (0, 1].
        weak: gate ranks that the weak pass runs, 1 being the best: (2,) the second alone, (1,) the best alone,
            (1, 2, 3) the three best; or "random": one expert drawn uniformly for each token and layer.
        strong_temperature: divides the strong logits.
        weak_temperature: divides the weak logits.
        seed: of the random routing; each step draws anew, and a seed gives the same text again.
        attention_mask: (B, T) of the prompts, zeros on padding; by default the padding is recognised.

    Raises:
        BadInput: an option is out of range, or the model is no mixture of experts or has fewer than a rank asked for.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        beta: float = 0.5,
        alpha: float = 0.1,
        weak: tuple[int, ...] | Literal["random"] = (2,),
        strong_temperature: float = 1.0,
        weak_temperature: float = 1.0,
        seed: int = 0,
        attention_mask: torch.Tensor | None = None,
    ) -> None:
        _check_options(beta, alpha, strong_temperature, weak_temperature)
        if isinstance(weak, str):
            if weak != "random":
                raise BadInput(f"weak = '{weak}', but it should be gate ranks such as (2,), or 'random'")
            self.weak_pass = WeakPass(model, lambda length: RandomExpert(_step_seed(seed, length)))
        else:
            route = Ranks(tuple(weak))
            self.weak_pass = WeakPass(model, lambda length: route)
            n_experts = Gates(model).n_experts
            if max(route.ranks) > n_experts:
                raise BadInput(f"weak = {route.ranks}, but the model has {n_experts} experts: ranks go up to that")
        self.beta = beta
        self.alpha = alpha
        self.weak = weak
        self.strong_temperature = strong_temperature
        self.weak_temperature = weak_temperature
        self.seed = seed
        self.attention_mask = attention_mask

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, T) ids so far and (B, V) strong logits to (B, V) contrast logits."""
        mask = _prompt_mask(self.weak_pass.model, input_ids, self.attention_mask)
        return contrast(
            scores,
            self.weak_pass.logits(input_ids, mask).to(scores),
            beta=self.beta,
            alpha=self.alpha,
            strong_temperature=self.strong_temperature,
            weak_temperature=self.weak_temperature,
        )


class ContrastiveDecoding(LogitsProcessor):
    """Contrast with a second, smaller model, by the same formula: the baseline that SCMoE does without.

    Args:
        amateur: the weaker model, of the same vocabulary.
        beta: strength of the contrast, at least 0.
        alpha: how likely a token must be beside the likeliest, in (0, 1].
        attention_mask: (B, T) of the prompts, zeros on padding; by default the padding is recognised.

    Raises:
        BadInput: an option is out of range; when called, the vocabularies differ.
    """

    def __init__(
        self,
        amateur: PreTrainedModel,
        beta: float = 0.5,
        alpha: float = 0.1,
        attention_mask: torch.Tensor | None = None,
    ) -> None:
        _check_options(beta, alpha, 1.0, 1.0)
        self.weak_pass = WeakPass(amateur)
        self.beta = beta
        self.alpha = alpha
        self.attention_mask = attention_mask

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, T) ids so far and (B, V) logits of the expert model to (B, V) contrast logits."""
        mask = _prompt_mask(self.weak_pass.model, input_ids, self.attention_mask)
        weak = self.weak_pass.logits(input_ids, mask).to(scores)
        return contrast(scores, weak, beta=self.beta, alpha=self.alpha)


@torch.no_grad()
def rank_divergence(
    model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """How far the next-token distribution moves when only the expert of rank k runs: KL(p_strong || p_rank-k), in nats.

    Args:
        model: a mixture of experts; its own routing is the strong one.
        input_ids: (B, T).
        attention_mask: (B, T), zeros on padding.

    Returns:
        (E, B, T) for k = 1..E; the average over the attended positions is the paper's figure 2.
    """
    gates = Gates(model)

    def log_p() -> torch.Tensor:
        return torch.log_softmax(model(input_ids=input_ids, attention_mask=attention_mask).logits.float(), dim=-1)

    strong = log_p()
    divergences = []
    for rank in range(1, gates.n_experts + 1):
        with gates.routed(Ranks((rank,))):
            divergences.append((strong.exp() * (strong - log_p())).sum(-1))
    return torch.stack(divergences)


def _prompt_mask(model: PreTrainedModel, input_ids: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor | None:
    """The attention mask of the prompts, repeated for beams; padding is a run of pad tokens at the start."""
    if given is not None:
        batch, length = input_ids.shape
        if given.ndim != 2 or batch % given.shape[0] or given.shape[1] > length:
            raise BadInput(
                f"attention_mask of shape {tuple(given.shape)} doesn't fit token ids of shape {(batch, length)}"
            )
        return given.repeat_interleave(batch // given.shape[0], dim=0)
    config = model.generation_config
    if config is None or config.pad_token_id is None or config.pad_token_id == config.bos_token_id:
        return None
    padding = (input_ids == config.pad_token_id).to(input_ids.dtype).cumprod(-1)
    padding[:, -1] = 0  # a row of nothing but padding still has to attend to something
    return 1 - padding


def _step_seed(seed: int, length: int) -> int:
    return int(np.random.SeedSequence((seed, length)).generate_state(1)[0])


def _check_options(beta: float, alpha: float, strong_temperature: float, weak_temperature: float) -> None:
    if not (beta >= 0 and math.isfinite(beta)):
        raise BadInput(f"beta = {beta}, but the strength of the contrast is a number from 0")
    if not 0 < alpha <= 1:
        raise BadInput(f"alpha = {alpha}, but it is a share of the likeliest token's probability: above 0, at most 1")
    for name, value in (("strong_temperature", strong_temperature), ("weak_temperature", weak_temperature)):
        if not (value > 0 and math.isfinite(value)):
            raise BadInput(f"{name} = {value}, but it should be a positive number")
