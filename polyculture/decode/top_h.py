"""Top-H: keep the likeliest tokens while their entropy stays under a share of the whole distribution's.

Top-H Decoding: Adapting the Creativity and Coherence with Bounded Entropy in Text Generation (2025, arXiv:2509.02510).
Three rules carry the name, and they keep different tokens (for n equally likely tokens: n^alpha, alpha n, alpha n):

========== =========================================================== ===========================================
rule       keep the longest prefix, by falling probability, with        p is
========== =========================================================== ===========================================
paper      H(q_i) = L_i / G_i + ln G_i <= alpha H(p)  (Algorithm 1)     softmax over the whole vocabulary
reference  L_i <= alpha L_n  (the authors' released processor)          softmax over the vocabulary, cut to the top n
hf         L_i <= alpha H(p)  (``top_h`` of transformers)               softmax over the top n alone
========== =========================================================== ===========================================

with G_i = sum_{j<=i} p_j and L_i = -sum_{j<=i} p_j ln p_j; q_i is the prefix renormalised. Entropies are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from transformers import LogitsProcessor

from polyculture.errors import BadInput, unknown

Rule = Literal["paper", "reference", "hf"]

SLACK = 1e-12
"""On entropies in nats: a prefix that meets its bound exactly is kept in spite of rounding.

Absolute under the rule "paper", where H(q) is a difference of larger numbers; a share of the bound under the others.
"""

_PREFIX = 128  # a first guess at how many tokens a step keeps; rows that keep more are searched further
_FLOOR = -1000.0  # exp underflows to 0 long before, and 0 * floor is 0 where 0 * -inf is nan
_BLOCK = 64  # tokens that one maximum stands for while the likeliest are looked for
_CPU_BLOCK = 2**17  # elements a pass over the vocabulary keeps in cache


def top_h_mask(
    logits: torch.Tensor, alpha: float = 0.4, *, temperature: float = 1.0, rule: Rule = "paper", top_n: int = 100
) -> torch.Tensor:
    """The tokens that top-H keeps.

    Args:
        logits: (B, V) or (V,) floating; -inf is a banned token, which is never kept and adds nothing to an entropy.
        alpha: share of the entropy that the kept tokens may have, in (0, 1]. 1 keeps every token that isn't banned.
        temperature: the distribution is softmax(logits / temperature).
        rule: "paper", "reference" or "hf"; see the module.
        top_n: how many tokens the rules "reference" and "hf" look at; fewer are looked at if the vocabulary is smaller.

    Returns:
        Boolean mask of the shape of ``logits``, at least one True a row. Equal logits: the lower token id goes first.

    Raises:
        BadInput: an option is out of range, a row is all -inf, or a logit is nan or +inf.
    """
    _check_options(alpha, temperature, rule, top_n)
    rows = _check_rows(logits)
    return (_cut(rows, alpha, temperature, rule, top_n) > -torch.inf).reshape(logits.shape)


class TopH(LogitsProcessor):
    """Top-H truncation for ``model.generate(logits_processor=[TopH()], do_sample=True, top_k=0)``.

    ``generate`` applies ``logits_processor`` before its own temperature, so the scores that come in are not tempered
    yet: give the same ``temperature`` here, where it decides what is kept, and to ``generate``, which applies it to
    what is left. Kept scores leave as they came, the others as -inf.

    Args:
        alpha: share of the entropy that the kept tokens may have, in (0, 1].
        temperature: the temperature that ``generate`` is called with.
        rule: "paper" (Algorithm 1), "reference" (the authors' released processor) or "hf" (transformers' ``top_h``).
        top_n: how many tokens the rules "reference" and "hf" look at.

    Raises:
        BadInput: an option is out of range; when called, a row has no token left or holds nan or +inf.

    >>> TopH(alpha=0.5)(torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 16)).isfinite().sum().item()
    4
    """

    def __init__(self, alpha: float = 0.4, temperature: float = 1.0, rule: Rule = "paper", top_n: int = 100) -> None:
        _check_options(alpha, temperature, rule, top_n)
        self.alpha = alpha
        self.temperature = temperature
        self.rule: Rule = rule
        self.top_n = top_n

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, V) scores to (B, V) scores of the same dtype, -inf where a token is cut."""
        rows = _check_rows(scores)
        return _cut(rows, self.alpha, self.temperature, self.rule, self.top_n).reshape(scores.shape)


@dataclass(frozen=True)
class Truncation:
    """What cutting a distribution p down to the renormalised q does, one value a row; entropies in nats.

    Args:
        entropy: H(p).
        kept_entropy: H(q).
        mass: the probability that was kept, G.
        jsd: Jensen-Shannon divergence of p and q, in nats.
    """

    entropy: torch.Tensor
    kept_entropy: torch.Tensor
    mass: torch.Tensor
    jsd: torch.Tensor


def truncation(logits: torch.Tensor, mask: torch.Tensor, *, temperature: float = 1.0) -> Truncation:
    """How far a truncation moves the distribution, for the mask of any sampler.

    q is p / G on the kept tokens, so the divergence has a closed form that falls with the kept mass G:
    ln 2 + (G ln G - (1 + G) ln(1 + G)) / 2. Maximising the mass is minimising the divergence (the paper's section 4).

    Args:
        logits: (B, V); -inf for banned tokens.
        mask: (B, V) boolean, the kept tokens.
        temperature: p is softmax(logits / temperature).

    Returns:
        Four float64 tensors of shape (B,).
    """
    p = torch.softmax(logits.double() / temperature, dim=-1)
    terms = -torch.xlogy(p, p)
    mass = (p * mask).sum(-1)
    kept_entropy = (terms * mask).sum(-1) / mass + mass.log()
    jsd = np.log(2.0) + 0.5 * (torch.xlogy(mass, mass) - torch.xlogy(1 + mass, 1 + mass))
    return Truncation(terms.sum(-1), kept_entropy.clamp_min(0.0), mass, jsd.clamp_min(0.0))


@dataclass(frozen=True)
class OptimalSupport:
    """The best support by enumeration, beside the prefix that top-H takes.

    Args:
        mass: largest probability a set can have with its entropy under the bound.
        subset: the set, token ids ascending.
        greedy_mass: what the paper's rule keeps.
    """

    mass: float
    subset: tuple[int, ...]
    greedy_mass: float

    @property
    def ratio(self) -> float:
        """Greedy over optimal mass, in (0, 1]."""
        return self.greedy_mass / self.mass


def entropy_constrained_mass(p: np.ndarray, alpha: float = 0.4) -> OptimalSupport:
    """Entropy-constrained mass maximisation, solved exactly over all 2^V - 1 sets (NP-hard in general; equation 4).

    Maximises sum_{i in S} p_i subject to H(q_S) <= alpha H(p). Among sets of equal mass, the fewest tokens win, then
    the lowest token ids.

    Args:
        p: (V,) probabilities, V at most 20.
        alpha: share of the entropy, in (0, 1].

    Raises:
        BadInput: p is no distribution or longer than 20, or alpha is out of range.
    """
    p = np.asarray(p, dtype=np.float64)
    _check_options(alpha, 1.0, "paper", 1)
    if p.ndim != 1 or not 1 <= p.size <= 20:
        raise BadInput(f"p has shape {p.shape}; enumeration takes one distribution of 1 to 20 probabilities")
    if not np.isfinite(p).all() or (p < 0).any() or abs(p.sum() - 1) > 1e-6:
        raise BadInput(f"p should be probabilities that add up to 1, not {p.sum():.6g}")
    terms = -p * np.log(p, out=np.zeros_like(p), where=p > 0)
    mass, partial, size = np.zeros(1), np.zeros(1), np.zeros(1, dtype=np.int64)
    for probability, term in zip(p, terms, strict=True):  # set number s holds token i where bit i of s is set
        mass = np.concatenate([mass, mass + probability])
        partial = np.concatenate([partial, partial + term])
        size = np.concatenate([size, size + 1])
    positive = mass > 0
    entropy = np.full(mass.size, np.inf)
    entropy[positive] = partial[positive] / mass[positive] + np.log(mass[positive])
    allowed = entropy <= alpha * terms.sum() + SLACK
    best = mass[allowed].max()
    tied = np.flatnonzero(allowed & (mass >= best - SLACK))
    tied = tied[size[tied] == size[tied].min()]
    subset = min(tuple(i for i in range(p.size) if s >> i & 1) for s in tied.tolist())
    logits = torch.from_numpy(np.log(p, out=np.full_like(p, -np.inf), where=p > 0))
    greedy = top_h_mask(logits, alpha).numpy()
    return OptimalSupport(float(p[list(subset)].sum()), subset, float(p[greedy].sum()))


def _cut(
    scores: torch.Tensor, alpha: float, temperature: float, rule: Rule, top_n: int, searched: int = _PREFIX
) -> torch.Tensor:
    """Scores, -inf where a token is cut; rows that keep all of the ``searched`` likeliest are searched on."""
    width = scores.shape[1]
    z = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    searched = min(searched if rule == "paper" else top_n, width)
    values, order = _largest(z, min(searched + 1, width))  # one more shows whether the cut splits a tie
    top = values[:, :1]
    if not bool(torch.isfinite(top).all()):
        raise BadInput("top-h: a row of logits is all -inf, or holds nan or inf; every row needs one finite logit")
    if rule == "paper" and alpha == 1.0:
        return scores.clone()  # no prefix has more entropy than the whole

    shifted = (values[:, :searched].double() - top) / temperature
    if rule == "hf":
        log_sum = shifted.exp().sum(-1, keepdim=True).log()
    else:
        log_sum, entropy = _normaliser(z, top, temperature)
    p = (shifted - log_sum).exp()
    partial = torch.special.entr(p).cumsum(-1)  # L_i
    if rule == "paper":
        mass = p.cumsum(-1)  # G_i
        within = partial / mass + mass.log() <= alpha * entropy + SLACK
    else:
        within = partial <= alpha * partial[:, -1:] * (1 + SLACK)  # both sums are tiny where a row is nearly certain
    count = (within & (p > 0)).sum(-1, keepdim=True).clamp_min_(1)  # both entropies rise with every token

    keep = torch.arange(order.shape[1], device=z.device) < count
    out = torch.full_like(scores, -torch.inf)
    out.scatter_(1, order, torch.where(keep, values, -torch.inf).to(scores.dtype))

    equal_to_next = torch.nn.functional.pad(values[:, :-1] == values[:, 1:], (0, 1))
    split = equal_to_next.gather(1, count - 1)
    open_rows = (count == searched).squeeze(1) if rule == "paper" and searched < width else None
    if bool(split.any()):  # the top of a row doesn't say which of equal logits has the lower id; a stable sort does
        tied = split.squeeze(1)
        order = torch.sort(z[tied], dim=-1, descending=True, stable=True).indices
        keep = torch.arange(width, device=z.device) < count[tied]
        out[tied] = torch.empty_like(z[tied], dtype=scores.dtype).scatter_(
            1, order, scores[tied].gather(1, order).masked_fill_(~keep, -torch.inf)
        )
    if open_rows is not None and bool(open_rows.any()):
        out[open_rows] = _cut(scores[open_rows], alpha, temperature, rule, top_n, searched * 8)
    return out


def _normaliser(z: torch.Tensor, top: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The logarithm of sum_j exp((z_j - top) / T) and the entropy of softmax(z / T) in nats, each (B, 1) float64.

    With d = (z - top) / T and S = sum e^d, the entropy is ln S - sum d e^d / S. On a CPU the rows go in blocks that
    stay in cache, which is four times as fast for 64 rows of 128 000.
    """
    rows = max(1, _CPU_BLOCK // z.shape[1]) if z.device.type == "cpu" else z.shape[0]
    sums, moments = [], []
    for block, its_top in zip(z.split(rows), top.split(rows), strict=True):
        d = (block - its_top).clamp_min_(_FLOOR * temperature)
        if temperature != 1.0:
            d.div_(temperature)
        e = d.exp()
        sums.append(e.sum(-1, keepdim=True, dtype=torch.float64))
        moments.append(torch.linalg.vecdot(e, d).double().unsqueeze(-1))
    total = torch.cat(sums)
    return total.log(), total.log() - torch.cat(moments) / total


def _largest(z: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of each row, descending, and where they are.

    The k largest lie in the k blocks with the largest maxima, so a long row is read once and sorted hardly at all.
    """
    batch, width = z.shape
    blocks = width // _BLOCK
    if width % _BLOCK or blocks < 3 * k:
        values, at = torch.topk(z, k, dim=-1)
        return values, at
    grid = z.view(batch, blocks, _BLOCK)
    best = torch.topk(grid.amax(-1), k, dim=-1, sorted=False).indices
    values, at = torch.topk(grid.gather(1, best.unsqueeze(-1).expand(-1, -1, _BLOCK)).flatten(1), k, dim=-1)
    return values, best.gather(1, at // _BLOCK) * _BLOCK + at % _BLOCK


def _check_options(alpha: float, temperature: float, rule: str, top_n: int) -> None:
    if not 0 < alpha <= 1:
        raise BadInput(f"alpha = {alpha}, but it is a share of the entropy: above 0, at most 1")
    if not (temperature > 0 and np.isfinite(temperature)):
        raise BadInput(f"temperature = {temperature}, but it should be a positive number")
    if rule not in get_args(Rule):
        raise unknown("top-h rule", str(rule), get_args(Rule))
    if top_n < 1:
        raise BadInput(f"top_n = {top_n}, but at least one token has to be looked at")


def _check_rows(logits: torch.Tensor) -> torch.Tensor:
    """The logits as (B, V)."""
    if logits.ndim not in (1, 2) or logits.shape[-1] == 0 or not logits.is_floating_point():
        raise BadInput(f"logits should be floating, (B, V) or (V,), not {tuple(logits.shape)} {logits.dtype}")
    return logits.reshape(-1, logits.shape[-1])
