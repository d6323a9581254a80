//! Rotary settings.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::TensorEntry;
use super::architecture::Architecture;
use super::metadata::Keys;

/// The base of the frequencies and the `rope_scaling` of a `config.json`, null where there is none.
pub(super) fn rope_scaling(
    keys: Keys<'_>,
    architecture: Architecture,
    tensors: &BTreeMap<String, TensorEntry>,
    head_dim: i64,
) -> Result<(f64, Value), String> {
    let number = |rest: &str| keys.number(&architecture.key(rest));
    let theta = number("rope.freq_base")?.unwrap_or(10_000.0);
    let named = named_scaling(keys, architecture)?;
    let Some(entry) = tensors.get("rope_freqs.weight") else { return Ok((theta, named)) };
    let factors = factors(keys, entry, head_dim)?;
    if let Some(factor) = factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
        return Err(format!("rope_freqs.weight contains the factor {factor}; factors must be over 0"));
    }
    if factors.iter().all(|&factor| factor == 1.0) {
        return Ok((theta, named));
    }
    if !named.is_null() {
        return Err("it has a rope.scaling.type and rope_freqs.weight at once, which is not supported".to_owned());
    }
    let original = keys.integer(&architecture.key("rope.scaling.original_context_length"))?;
    let scaling = llama3(theta, &factors, original).unwrap_or_else(|| {
        json!({"rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0, "short_factor": factors,
            "long_factor": factors})
    });
    Ok((theta, scaling))
}

/// The scaling that the keys name.
fn named_scaling(keys: Keys<'_>, architecture: Architecture) -> Result<Value, String> {
    let key = |rest: &str| architecture.key(&format!("rope.scaling.{rest}"));
    let number = |rest: &str| keys.number(&key(rest));
    let factor = match number("factor")? {
        Some(factor) => Some(factor),
        None => keys.number(&architecture.key("rope.scale_linear"))?,
    };
    // llama.cpp reads 0 as no factor.
    let factor = factor.filter(|&factor| factor != 0.0);
    if let Some(found) = number("attn_factor")?.filter(|&found| found != 1.0) {
        return Err(format!("{} {found} is not supported", key("attn_factor")));
    }
    let original = keys.integer(&key("original_context_length"))?;
    match keys.text(&key("type"))? {
        Some("none") => Ok(Value::Null),
        // The type that llama.cpp takes where none is named.
        Some("linear") | None => Ok(match factor.filter(|&factor| factor != 1.0) {
            Some(factor) => json!({"rope_type": "linear", "factor": factor}),
            None => Value::Null,
        }),
        Some("yarn") => {
            for (rest, neutral) in [("yarn_ext_factor", 1.0), ("yarn_log_multiplier", 0.0)] {
                if let Some(found) = number(rest)?.filter(|&found| found != neutral) {
                    return Err(format!("{} {found} is not supported", key(rest)));
                }
            }
            let Some(factor) = factor else { return Err(format!("metadata key {} is missing", key("factor"))) };
            // llama.cpp multiplies the attention factor of the paper by this one.
            let attention = number("yarn_attn_factor")?.map(|own| own * (1.0 + 0.1 * factor.ln()));
            Ok(json!({
                "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original,
                "attention_factor": attention, "beta_fast": number("yarn_beta_fast")?,
                "beta_slow": number("yarn_beta_slow")?,
            }))
        }
        Some(other) => Err(format!("{} {other:?} is not supported; supported: none, linear, yarn", key("type"))),
    }
}

/// The numbers of `rope_freqs.weight`: each frequency is divided by its own.
fn factors(keys: Keys<'_>, entry: &TensorEntry, head_dim: i64) -> Result<Vec<f32>, String> {
    let count = entry.shape.iter().product::<i64>();
    if count != head_dim / 2 {
        return Err(format!("rope_freqs.weight has {count} factors for heads of size {head_dim}"));
    }
    let (numbers, _) = entry.storage.block();
    let mut factors = vec![0.0; usize::try_from(count).unwrap_or(0).next_multiple_of(numbers)];
    entry.storage.dequantize(keys.bytes.get(entry.range.clone()).unwrap_or_default(), &mut factors);
    Ok(factors)
}

/// Llama 3's scaling, if the factors are those that llama.cpp's converter computes for it.
fn llama3(theta: f64, factors: &[f32], original: Option<i64>) -> Option<Value> {
    let (low, high) = (1.0, 4.0);
    let factor = factors.iter().copied().fold(0.0, f32::max);
    let original = original.unwrap_or(8192);
    let expected = |i: usize| {
        let wave = std::f64::consts::TAU * theta.powf(i as f64 / factors.len() as f64);
        let turns = original as f64 / wave;
        if turns > high {
            1.0
        } else if turns < low {
            f64::from(factor)
        } else {
            let smooth = (turns - low) / (high - low);
            1.0 / ((1.0 - smooth) / f64::from(factor) + smooth)
        }
    };
    let same = |(i, &found): (usize, &f32)| (f64::from(found) / expected(i) - 1.0).abs() < 1e-4;
    factors.iter().enumerate().all(same).then(|| {
        json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original})
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_of_llama_3_are_recognized() {
        let theta = 500_000.0;
        let factors = |low: f64, original: f64| -> Vec<f32> {
            let of = |i: usize| {
                let turns = original / (std::f64::consts::TAU * f64::powf(theta, i as f64 / 64.0));
                let smooth = ((turns - low) / (4.0 - low)).clamp(0.0, 1.0);
                (1.0 / ((1.0 - smooth) / 8.0 + smooth)) as f32
            };
            (0..64).map(of).collect()
        };
        let found = llama3(theta, &factors(1.0, 8192.0), None).unwrap();
        assert_eq!((&found["factor"], &found["original_max_position_embeddings"]), (&json!(8.0), &json!(8192)));
        assert!(llama3(theta, &factors(1.0, 2048.0), Some(2048)).is_some());
        assert!(llama3(theta, &factors(1.0, 2048.0), None).is_none());
        assert!(llama3(theta, &factors(2.0, 8192.0), None).is_none());
    }
}
