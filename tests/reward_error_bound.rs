//! Theorem 2 of the paper (appendix A): with a reward model that is off by at most eps, PPO's policy is within a bound of
//! the best one, and the bound shrinks with eps. The paper states it without constants; this file has them.
//!
//! PPO with a KL penalty maximises J_r(pi) = E_pi[r] - beta KL(pi || ref). Let pi* maximise J_r for the true reward r, and
//! let |r_hat - r| <= eps for every answer. Then |J_r_hat(pi) - J_r(pi)| <= eps for every policy, so a policy pi with
//! J_r_hat(pi) >= max J_r_hat - delta (an optimizer that is off by delta) has
//!
//! ```text
//! J_r(pi) >= J_r_hat(pi) - eps >= J_r_hat(pi*) - delta - eps >= J_r(pi*) - delta - 2 eps.                          (1)
//! ```
//!
//! The exact maximiser is pi_hat(y) = ref(y) exp(r_hat(y) / beta) / Z (the Gibbs policy), and with J_r(pi*) - J_r(pi) =
//! beta KL(pi || pi*) there is a second bound. log(pi_hat / pi*) is (r_hat - r) / beta minus its normalisation, which lies in
//! an interval of width 2 eps / beta; Hoeffding's lemma bounds the KL divergence of such a tilt by width^2 / 8:
//!
//! ```text
//! KL(pi_hat || pi*) <= eps^2 / (2 beta^2), so J_r(pi*) - J_r(pi_hat) <= min(2 eps, eps^2 / (2 beta)).               (2)
//! ```
//!
//! Both are tested on `TablePolicy`, whose expectations are exact: rewards here are sums over an answer's tokens, so the
//! Gibbs policy of a table is a table, found from the last position backwards by V = beta log sum ref exp((r + V') / beta).

#![allow(clippy::unwrap_used)]

use approx::assert_abs_diff_eq;
use ser::ppo::{KlControl, PpoSettings, ResponseLength};
use ser::testing::TablePolicy;
use ser::{Message, Policy, Training, reward_fn};
use ser::{PolicyRunSettings, PpoTraining};

/// Tokens of an answer at most, so positions of the table.
const LENGTH: usize = 6;
/// Tokens: the end, then `a` to `d`.
const TOKENS: usize = 5;
/// The KL coefficient.
const BETA: f64 = 0.05;

/// A number for each token at each position: logits, log-probabilities or rewards.
type Table = [[f64; TOKENS]; LENGTH];

/// The true reward: `c` is best, `b` half as good, earlier positions count a little more; at most 1 for a whole answer.
fn reward() -> Table {
    std::array::from_fn(|position| {
        let weight = (1.2 - 0.08 * position as f64) / LENGTH as f64;
        [0.0, 0.0, 0.5, 1.0, 0.0].map(|letter| weight * letter)
    })
}

/// A reward model's errors, each in [-1, 1] for a whole answer.
fn errors() -> [Table; 4] {
    let per_position = |of: fn(usize) -> [f64; TOKENS]| -> Table {
        std::array::from_fn(|position| of(position).map(|error| error / LENGTH as f64))
    };
    [
        // It confuses the best letter with the worst.
        per_position(|_| [0.0, 1.0, 0.0, -1.0, 1.0]),
        // It prefers short answers.
        per_position(|_| [0.0, -1.0, -1.0, -1.0, -1.0]),
        // Its error is at the first letter only, where the best policy has the highest entropy.
        std::array::from_fn(|position| if position == 0 { [1.0, 1.0, 1.0, -1.0, 1.0] } else { [0.0; TOKENS] }),
        // Errors at several letters.
        per_position(|position| std::array::from_fn(|token| (7.0 * (position * TOKENS + token) as f64).sin())),
    ]
}

/// reward + eps * error.
fn learned(error: &Table, eps: f64) -> Table {
    let true_reward = reward();
    std::array::from_fn(|p| std::array::from_fn(|t| true_reward[p][t] + eps * error[p][t]))
}

fn log_softmax(logits: &[f64; TOKENS]) -> [f64; TOKENS] {
    let total = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
    logits.map(|l| l - total)
}

/// The log-probabilities of a policy, by way of its snapshot: one number a line, as bits, the logits first.
fn log_probs(policy: &mut TablePolicy) -> Table {
    let folder = tempfile::tempdir().unwrap();
    policy.snapshot(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("table")).unwrap();
    let numbers: Vec<f64> = text.lines().map(|line| f64::from_bits(u64::from_str_radix(line, 16).unwrap())).collect();
    std::array::from_fn(|position| log_softmax(numbers[position * TOKENS..][..TOKENS].try_into().unwrap()))
}

fn reference() -> Table {
    log_probs(&mut TablePolicy::new(LENGTH))
}

/// J_r(pi), exactly: position after position, with the probability that the answer has not ended.
fn objective(reward: &Table, policy: &Table) -> f64 {
    let (mut alive, mut total) = (1.0, 0.0);
    for (position, reference) in reference().iter().enumerate() {
        let gain =
            |t: usize| policy[position][t].exp() * (reward[position][t] - BETA * (policy[position][t] - reference[t]));
        total += alive * (0..TOKENS).map(gain).sum::<f64>();
        alive *= 1.0 - policy[position][0].exp();
    }
    total
}

/// KL(p || q) of whole answers.
fn divergence(p: &Table, q: &Table) -> f64 {
    let mut alive = 1.0;
    let mut total = 0.0;
    for (p, q) in p.iter().zip(q) {
        total += alive * p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        alive *= 1.0 - p[0].exp();
    }
    total
}

/// The policy that maximises J_r.
fn gibbs(reward: &Table) -> Table {
    let mut policy = reference();
    let mut value = 0.0;
    for position in (0..LENGTH).rev() {
        let tilted: [f64; TOKENS] = std::array::from_fn(|token| {
            let after = if token == 0 { 0.0 } else { value };
            policy[position][token] + (reward[position][token] + after) / BETA
        });
        value = BETA * tilted.iter().map(|l| l.exp()).sum::<f64>().ln();
        policy[position] = log_softmax(&tilted);
    }
    policy
}

#[test]
fn the_gibbs_policy_is_the_maximum() {
    let (reward, best) = (reward(), gibbs(&reward()));
    let value = objective(&reward, &best);
    for position in 0..LENGTH {
        for token in 0..TOKENS {
            for step in [-0.01, 0.01] {
                let mut moved = best;
                moved[position][token] += step;
                moved[position] = log_softmax(&moved[position]);
                assert!(objective(&reward, &moved) < value, "{position} {token} {step}");
            }
        }
    }
    // J_r(pi*) - J_r(pi) = beta KL(pi || pi*), and the reference is far from the maximum.
    let gap = value - objective(&reward, &reference());
    assert_abs_diff_eq!(gap, BETA * divergence(&reference(), &best), epsilon = 1e-12);
    assert!(gap > 0.2, "{gap}");
}

#[test]
fn the_best_policy_for_a_wrong_reward_is_within_a_bound_that_shrinks_with_the_error() {
    let (reward, best) = (reward(), gibbs(&reward()));
    let optimum = objective(&reward, &best);
    for error in errors() {
        let mut gaps = Vec::new();
        for eps in [0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.0] {
            let policy = gibbs(&learned(&error, eps));
            let gap = optimum - objective(&reward, &policy);
            let kl = divergence(&policy, &best);
            assert!(kl <= eps * eps / (2.0 * BETA * BETA) + 1e-12, "eps {eps}: KL {kl}");
            assert!(gap <= (2.0 * eps).min(eps * eps / (2.0 * BETA)) + 1e-12, "eps {eps}: {gap}");
            gaps.push(gap);
        }
        println!("{gaps:?}");
        assert!(gaps.is_sorted_by(|x, y| x > y), "the gap shrinks with eps: {gaps:?}");
        assert_abs_diff_eq!(*gaps.last().unwrap(), 0.0, epsilon = 1e-12);
    }
    // The bound is of the right size: where the error is at one letter, the gap is a large part of it.
    let eps = 0.0125;
    let gap = optimum - objective(&reward, &gibbs(&learned(&errors()[2], eps)));
    assert!(gap > 0.3 * eps * eps / (2.0 * BETA), "{gap}");
}

/// Trains by PPO on a reward; the policy's log-probabilities.
fn ppo(reward: &Table, seed: u64) -> Table {
    let mut policy = TablePolicy::new(LENGTH);
    let mut of_answer = reward_fn(|_, answer| {
        answer.bytes().zip(reward).map(|(letter, row)| row[usize::from(letter - b'a') + 1]).sum()
    });
    let settings = PpoSettings {
        learning_rate: 30.0,
        batch_size: 256,
        mini_batch_size: 256,
        ppo_epochs: 2,
        lambda: 1.0,
        whiten_advantages: false,
        initial_kl_coefficient: BETA,
        kl_control: KlControl::Fixed,
        early_stopping: false,
        value_clip_range: 10.0,
        reward_scaling: None,
        response_length: ResponseLength::Fixed(LENGTH),
        seed,
        ..PpoSettings::default()
    };
    let steps = PolicyRunSettings { steps: Some(250), ..PolicyRunSettings::default() };
    let prompts = vec![vec![Message::user("?")]];
    let mut training = PpoTraining::new(settings, steps, &mut policy, &mut of_answer, prompts).unwrap();
    while training.done() < training.total() {
        training.step().unwrap();
    }
    drop(training);
    log_probs(&mut policy)
}

#[test]
fn ppo_on_a_wrong_reward_is_within_the_bound() {
    // The distance of PPO's result from its own optimum; the reference is over 0.2 away.
    const OPTIMIZER: f64 = 0.01;
    let true_reward = reward();
    let optimum = objective(&true_reward, &gibbs(&true_reward));
    for (seed, error) in errors().iter().enumerate() {
        let mut gaps = Vec::new();
        for eps in [0.2, 0.05, 0.0125, 0.0] {
            let reward = learned(error, eps);
            let policy = ppo(&reward, seed as u64);
            let delta = objective(&reward, &gibbs(&reward)) - objective(&reward, &policy);
            assert!((0.0..OPTIMIZER).contains(&delta), "eps {eps}: PPO is off by {delta} on its own reward");
            let gap = optimum - objective(&true_reward, &policy);
            assert!(gap <= 2.0 * eps + delta + 1e-12, "eps {eps}: {gap}, optimizer {delta}");
            gaps.push(gap);
        }
        println!("{gaps:?}");
        assert!(gaps[0] > gaps[2] && gaps[2] < OPTIMIZER + 0.025, "{gaps:?}");
    }
}
