//! OpenRLHF's client for remote reward models reads the server's answers.

#![allow(clippy::panic, clippy::unwrap_used)]

mod support;

use std::process::Command;

use ser_core::testing::Requirement;
use ser_serve::ServeSettings;
use serde_json::Value;
use support::start;

#[test]
fn the_client_reads_rewards() {
    let Some(python) = std::env::var_os("SER_PYTHON") else {
        return Requirement::Python.missing("SER_PYTHON is not set");
    };
    let server = start(ServeSettings::default());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openrlhf.py");
    let url = format!("http://{}/get_reward", server.address);
    let output = Command::new(python).args([script, &url]).env("NO_PROXY", "127.0.0.1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rewards: Vec<f64> = said["rewards"].as_array().unwrap().iter().map(|reward| reward.as_f64().unwrap()).collect();
    assert_eq!(rewards.len(), 2);
    for (reward, expected) in rewards.iter().zip([0.04, 0.08]) {
        assert!((reward - expected).abs() < 1e-6, "{said}");
    }
}
