"""Makes ppo.json: PPO's quantities by the code of TRL 0.11.4, in float64 (except its running moments, which are float32).

    pip install trl==0.11.4 transformers==4.46.3 tokenizers==0.20.3 peft==0.13.2 accelerate==1.1.1 datasets==3.1.0 torch
    python ppo.py > ppo.json

The methods of TRL's PPOTrainer are called on an object that has nothing but settings. Responses have unequal lengths;
TRL gets them padded on the right with a mask, the JSON has them without padding.
"""
import json
import types
import warnings

import torch
from trl import PPOTrainer
from trl.core import entropy_from_logits, logprobs_from_logits, masked_mean, masked_var, masked_whiten
from trl.trainer.utils import AdaptiveKLController, RunningMoments

warnings.simplefilter("ignore")
torch.manual_seed(411)
torch.set_default_dtype(torch.float64)
VOCABULARY = 6
LENGTHS = [7, 1, 4, 7, 5]
# Tokens that the policy did not choose, inside of responses; the last one ends with such a token.
HOLES = {2: [1], 3: [0, 3, 4], 4: [4]}


def rounded(x):
    # So that the JSON has exactly the numbers that torch computed with.
    return (x * 4096).round() / 4096


class Arithmetic:
    _kl_penalty = PPOTrainer._kl_penalty
    compute_rewards = PPOTrainer.compute_rewards
    compute_advantages = PPOTrainer.compute_advantages
    loss = PPOTrainer.loss
    record_step_stats = PPOTrainer.record_step_stats
    _early_stop = PPOTrainer._early_stop

    def __init__(self, coefficient=0.2, **settings):
        defaults = dict(
            kl_penalty="kl", gamma=1.0, lam=0.95, cliprange=0.2, cliprange_value=0.2, vf_coef=0.1, ratio_threshold=10.0,
            whiten_rewards=False, early_stopping=True, target_kl=0.1,
        )
        self.config = types.SimpleNamespace(**(defaults | settings))
        self.kl_ctl = types.SimpleNamespace(value=coefficient)
        self.is_distributed = False
        self.optimizer = types.SimpleNamespace(zero_grad=lambda: None)


def mask_of(lengths, holes):
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for i, length in enumerate(lengths):
        mask[i, :length] = 1
        mask[i, holes.get(i, [])] = 0
    return mask


def ragged(x, lengths):
    return [row[:length].tolist() for row, length in zip(x, lengths)]


def distributions(spread, lengths):
    return torch.log_softmax(rounded(torch.randn(len(lengths), max(lengths), VOCABULARY) * spread), dim=-1)


def at(logits, tokens):
    return torch.gather(logits, 2, tokens.unsqueeze(-1)).squeeze(-1)


def advantages(lengths, holes, penalty="kl", coefficient=0.2, **settings):
    ppo = Arithmetic(coefficient, kl_penalty=penalty, **settings)
    mask = mask_of(lengths, holes)
    shape = mask.shape
    tokens = torch.randint(VOCABULARY, shape)
    policy, reference = distributions(1.5, lengths), distributions(1.5, lengths)
    log_probs, ref_log_probs = at(policy, tokens), at(reference, tokens)
    scores = rounded(torch.randn(len(lengths)))
    values = rounded(torch.randn(shape))
    full = penalty == "full"
    rewards, non_score, kls = ppo.compute_rewards(
        scores, policy if full else log_probs, reference if full else ref_log_probs, mask
    )
    _, adv, returns = ppo.compute_advantages(values, rewards, mask)
    stats = ppo.record_step_stats(
        kl_coef=coefficient, scores=scores, logprobs=log_probs, ref_logprobs=ref_log_probs, non_score_reward=non_score,
        masks=mask, kls=kls, queries=[[0]] * len(lengths), responses=[[0] * n for n in lengths],
        train_stats={"val/error": torch.ones(1), "returns/var": torch.ones(1)},
    )
    return {
        "penalty": penalty,
        "coefficient": coefficient,
        "gamma": ppo.config.gamma,
        "lambda": ppo.config.lam,
        "whiten_rewards": ppo.config.whiten_rewards,
        "mask": [[bool(m) for m in row] for row in ragged(mask, lengths)] if holes else None,
        "tokens": ragged(tokens, lengths),
        "policy": ragged(policy, lengths) if full else None,
        "reference": ragged(reference, lengths) if full else None,
        "log_probs": ragged(log_probs, lengths),
        "reference_log_probs": ragged(ref_log_probs, lengths),
        "scores": scores.tolist(),
        "values": ragged(values, lengths),
        "kl": ragged(kls * mask, lengths),
        "rewards": ragged(rewards * mask, lengths),
        "advantages": ragged(adv * mask, lengths),
        "returns": ragged(returns * mask, lengths),
        "objective_kl": stats["objective/kl"].item(),
        "objective_entropy": stats["objective/entropy"].item(),
        # TRL 0.11's PPOv2Trainer, whose names the statistics have, sums over tokens and averages over responses.
        "non_score_reward": (non_score * mask).sum(1).mean().item(),
        "mean_scores": stats["ppo/mean_scores"].item(),
        "std_scores": stats["ppo/std_scores"].item(),
        "response_length": stats["tokens/responses_len_mean"],
    }


def loss(lengths, holes, moved, **settings):
    ppo = Arithmetic(**settings)
    mask = mask_of(lengths, holes)
    shape = mask.shape
    tokens = torch.randint(VOCABULARY, shape)
    logits = rounded(torch.randn(*shape, VOCABULARY) * 1.5)
    log_probs = logprobs_from_logits(logits, tokens).detach().requires_grad_(True)
    old = (log_probs.detach() + rounded(torch.randn(shape) * moved)).detach()
    values = rounded(torch.randn(shape))
    predicted = (values + rounded(torch.randn(shape) * 0.4)).detach().requires_grad_(True)
    returns = rounded(torch.randn(shape))
    adv = rounded(torch.randn(shape))
    policy_loss, value_loss, stats = ppo.loss(old, values, logits, predicted, log_probs, mask, adv, returns)
    (policy_loss + value_loss).backward()
    return {
        "settings": {
            "clip_range": ppo.config.cliprange,
            "value_clip_range": ppo.config.cliprange_value,
            "value_coefficient": ppo.config.vf_coef,
            "ratio_threshold": ppo.config.ratio_threshold,
            "target_kl": ppo.config.target_kl,
        },
        "mask": [[bool(m) for m in row] for row in ragged(mask, lengths)] if holes else None,
        "tokens": ragged(tokens, lengths),
        "old_log_probs": ragged(old, lengths),
        "old_values": ragged(values, lengths),
        "log_probs": ragged(log_probs.detach(), lengths),
        "values": ragged(predicted.detach(), lengths),
        "entropies": ragged(entropy_from_logits(logits), lengths),
        "advantages": ragged(adv, lengths),
        "returns": ragged(returns, lengths),
        "by_log_probs": ragged(log_probs.grad, lengths),
        "by_values": ragged(predicted.grad, lengths),
        "total": stats["loss/total"].item(),
        "policy": stats["loss/policy"].item(),
        "value": stats["loss/value"].item(),
        "entropy": stats["policy/entropy"].item(),
        "approx_kl": stats["policy/approxkl"].item(),
        "policy_kl": stats["policy/policykl"].item(),
        "clip_fraction": stats["policy/clipfrac"].item(),
        "value_clip_fraction": stats["val/clipfrac"].item(),
        "ratio": masked_mean(stats["policy/ratio"], mask).item(),
        "stops_early": bool(ppo._early_stop(stats["policy/policykl"])),
    }


def whitening(lengths, holes):
    mask = mask_of(lengths, holes)
    values = rounded(torch.randn(mask.shape) * 3 + 1)
    return {
        "mask": [[bool(m) for m in row] for row in ragged(mask, lengths)],
        "values": ragged(values, lengths),
        "mean": masked_mean(values, mask).item(),
        "variance": masked_var(values, mask).item(),
        "shifted": ragged(masked_whiten(values, mask) * mask, lengths),
        "unshifted": ragged(masked_whiten(values, mask, shift_mean=False) * mask, lengths),
    }


def controller(start, target, horizon, rollouts):
    control = AdaptiveKLController(start, target, horizon)
    kls = rounded(torch.rand(20) * 2.5 * target - 0.2 * target).tolist()
    coefficients = []
    for kl in kls:
        control.update(kl, rollouts)
        coefficients.append(float(control.value))
    return {
        "start": start, "target": target, "horizon": horizon, "rollouts": rollouts,
        "kls": kls, "coefficients": coefficients,
    }


def moments():
    running = RunningMoments(types.SimpleNamespace(use_distributed=False))
    batches = [rounded(torch.randn(n) * 2 + 3) for n in (8, 3, 8, 5)]
    steps = []
    for batch in batches:
        running.update(batch)
        scale = running.std + torch.finfo(torch.float32).eps
        steps.append(
            {
                "scores": batch.tolist(), "mean": running.mean, "std": running.std,
                "scaled": (batch / scale).tolist(), "standardized": ((batch - running.mean) / scale).tolist(),
            }
        )
    return steps


FULL = [5] * 4
print(
    json.dumps(
        {
            "advantages": [
                advantages(LENGTHS, {}),
                advantages(LENGTHS, {}, penalty="abs", coefficient=0.05),
                advantages(LENGTHS, {}, penalty="mse", gamma=0.99, lam=0.9),
                advantages(LENGTHS, {}, penalty="full", lam=1.0),
                advantages(LENGTHS, HOLES),
                advantages(LENGTHS, HOLES, penalty="full", gamma=0.9, lam=0.0, coefficient=0.0),
                # TRL whitens the rewards of padding into something else than 0 and lets them into the advantages, so
                # only rows without padding can be compared.
                advantages(FULL, {}, whiten_rewards=True),
            ],
            "losses": [
                loss(LENGTHS, {}, 0.3),
                loss(LENGTHS, HOLES, 0.3, cliprange=0.1, cliprange_value=0.5, vf_coef=0.5),
                loss([6], {}, 0.05),
                loss([1], {}, 0.3),
                loss(FULL, {}, 3.0, ratio_threshold=10.0),
                loss(FULL, {}, 3.0, ratio_threshold=1e9),
                loss(LENGTHS, {}, 0.6, target_kl=0.02),
            ],
            "whitening": [whitening(LENGTHS, {}), whitening(LENGTHS, HOLES)],
            "controllers": [controller(0.2, 6.0, 10000.0, 8), controller(0.05, 1.5, 1000.0, 256)],
            "moments": moments(),
        },
        indent=None,
    ).replace('}, {"', '},\n{"')
)
