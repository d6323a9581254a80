//! The lessons of `examples/` that need no libtorch are run as tests.

#![allow(clippy::panic, clippy::unwrap_used)]
// own_rule_and_loss includes the model of embed_custom_model.
#![allow(clippy::duplicate_mod)]

#[path = "../examples/label_pairs.rs"]
mod label_pairs;
#[path = "../examples/own_rule_and_loss.rs"]
mod own_rule_and_loss;
#[path = "../examples/status_alone.rs"]
mod status_alone;
#[path = "../examples/status_from_array.rs"]
mod status_from_array;
#[path = "../examples/train_ppo.rs"]
mod train_ppo;
#[path = "../examples/web_service.rs"]
mod web_service;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use ser::ndarray::array;

#[test]
fn selection_alone_runs() {
    status_alone::main().unwrap();
    status_from_array::main().unwrap();
}

#[test]
fn a_csv_file_and_a_transposed_matrix_give_the_same_rows() {
    let scores = status_from_array::read_scores("a,b\n0.9,-0.7\n0.1,0.0\n0.2,2.5\n".as_bytes()).unwrap();
    assert_eq!(status_from_array::selected_rows(scores.view(), 0.3).unwrap(), [0, 2]);
    let columns = array![[0.9, 0.1, 0.2], [-0.7, 0.0, 2.5]];
    assert_eq!(status_from_array::selected_rows(columns.t(), 0.3).unwrap(), [0, 2]);
    assert!(status_from_array::read_scores("a,b\n0.9,none\n".as_bytes()).is_err());
}

#[test]
fn scores_in_json_lines_become_labels_in_json_lines() {
    let mut out = Vec::new();
    let input = "{\"id\": 7, \"raw\": [1.3, -0.4]}\n{\"id\": 8, \"raw\": [0.1, 0.1]}\n";
    label_pairs::label_lines(input.as_bytes(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.starts_with("{\"id\":7,") && text.contains("\"preferred\":\"a\""), "{text}");
    let error = label_pairs::label_lines("{}".as_bytes(), Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with("line 1: missing field"), "{error}");
}

#[test]
fn an_own_rule_and_an_own_loss_select_pairs() {
    let root = tempfile::tempdir().unwrap();
    let selected = own_rule_and_loss::run(root.path(), 600).unwrap();
    assert!(selected.iter().sum::<u64>() > 0, "{selected:?}");
}

#[test]
fn ppo_raises_the_reward_of_an_own_policy() {
    let root = tempfile::tempdir().unwrap();
    let [first, last] = train_ppo::run(root.path()).unwrap();
    assert!(last > first + 1.0, "{first} {last}");
}

/// Sends a request without a body and returns the response.
fn request(address: SocketAddr, method: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} /run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Asks for the status until the run is in this state.
fn wait_for(address: SocketAddr, state: &str) -> String {
    for _ in 0..6000 {
        let status = request(address, "GET");
        if status.contains(&format!("\"state\":\"{state}\"")) {
            return status;
        }
        assert!(!status.contains("\"failed\""), "{status}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the run is not {state}");
}

#[test]
fn a_run_is_started_stopped_and_continued_over_http() {
    let root = tempfile::tempdir().unwrap();
    let router = web_service::router(root.path().join("run"), 600);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, router).await });
    assert!(request(address, "GET").contains("idle"));
    assert!(request(address, "POST").starts_with("HTTP/1.1 202"));
    assert!(request(address, "DELETE").starts_with("HTTP/1.1 202"));
    wait_for(address, "stopped");
    assert!(request(address, "POST").starts_with("HTTP/1.1 202"));
    let status = wait_for(address, "finished");
    assert!(status.contains("report.html"), "{status}");
    assert!(root.path().join("run/report.json").exists());
}
