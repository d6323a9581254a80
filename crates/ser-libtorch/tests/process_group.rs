//! Process groups of several processes on this machine: this test program starts itself once per rank.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ser_core::distributed::Environment;
use ser_libtorch::ProcessGroup;
use tch::{Device, Kind, Tensor};

const ROLE: &str = "SER_TEST_ROLE";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process of this test program that plays a role as one rank, with other variables at the end.
fn start(role: &str, rank: usize, size: usize, port: u16, variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "as_a_rank", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env("RANK", rank.to_string()).env("WORLD_SIZE", size.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string()).env("SER_GROUP_TIMEOUT", "60");
    command.env("OMP_NUM_THREADS", "1").envs(variables.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// All ranks of a role, at their end.
fn outputs(role: &str, size: usize) -> Vec<Output> {
    let port = free_port();
    let children: Vec<Child> = (0..size).map(|rank| start(role, rank, size, port, &[])).collect();
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one error line of a rank.
fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(7), "{}", errors(output));
    let errors = errors(output);
    let lines: Vec<&str> = errors.lines().filter(|line| !line.is_empty()).collect();
    let [line] = lines.as_slice() else { panic!("not one line: {errors}") };
    (*line).to_owned()
}

fn floats(seed: usize) -> Tensor {
    let values: Vec<f32> = (0..1000).map(|i| ((i * 37 + seed * 101) % 997) as f32 / 7.0 - 50.0).collect();
    Tensor::from_slice(&values).view([10, 100])
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    Vec::<f32>::try_from(tensor.view([-1])).unwrap().iter().map(|x| x.to_bits()).collect()
}

/// What a rank does; an error ends the process with code 7 and its sentence.
fn play(role: &str) -> Result<(), Box<dyn std::error::Error>> {
    let group = ProcessGroup::connect(&Environment::from_env()?)?;
    let (rank, size) = (group.rank(), group.size());
    match role {
        "operations" => {
            // Whole numbers, whose sums are exact in any order.
            let ranks = (size * (size - 1) / 2) as i64;
            for kind in [Kind::Float, Kind::Double, Kind::Int64, Kind::Uint8] {
                let mut x = (Tensor::arange(5, (Kind::Int64, Device::Cpu)) + rank as i64).to_kind(kind);
                group.all_reduce_sum(&mut x)?;
                let sum = Tensor::arange(5, (Kind::Int64, Device::Cpu)) * size as i64 + ranks;
                assert_eq!(x, sum.to_kind(kind));
                let mut x = Tensor::full([3], rank as i64 + 7, (kind, Device::Cpu));
                group.broadcast(&mut x, size - 1)?;
                assert_eq!(x, Tensor::full([3], size as i64 + 6, (kind, Device::Cpu)));
            }
            let gathered = group.all_gather(&floats(rank))?;
            assert_eq!(gathered.len(), size);
            for (rank, x) in gathered.iter().enumerate() {
                assert_eq!((bits(x), x.size()), (bits(&floats(rank)), vec![10, 100]));
            }
            // Any order of summation, but the same bits on every rank.
            let mut sum = floats(rank);
            group.all_reduce_sum(&mut sum)?;
            for other in group.all_gather(&sum)? {
                assert_eq!(bits(&other), bits(&sum));
            }
            let expected = (0..size).map(|rank| floats(rank).to_kind(Kind::Double)).sum::<Tensor>();
            assert!((sum.to_kind(Kind::Double) - expected).abs().max().double_value(&[]) < 1e-4);
            let mut root = floats(rank);
            group.broadcast(&mut root, 1)?;
            assert_eq!(bits(&root), bits(&floats(1)));
            let empty = Tensor::zeros([0, 3], (Kind::Float, Device::Cpu));
            assert!(group.all_gather(&empty)?.iter().all(|x| x.size() == [0, 3]));
            group.barrier()?;
        }
        "unequal sizes" => {
            let mut x = Tensor::zeros([3 + rank as i64, 2], (Kind::Float, Device::Cpu));
            group.all_reduce_sum(&mut x)?;
        }
        "unequal operations" => {
            let mut x = Tensor::zeros([3], (Kind::Int64, Device::Cpu));
            if rank == 0 { group.broadcast(&mut x, 1)? } else { group.barrier()? }
        }
        "unequal values" => group.require_equal(&[("settings", 7), ("pairs", (rank / 2) as i64)])?,
        "a rank dies" => {
            let mut x = floats(rank);
            for step in 0.. {
                if rank == 1 && step == 3 {
                    die();
                }
                group.all_reduce_sum(&mut x)?;
            }
        }
        "a rank hangs" => {
            if rank == 1 {
                std::thread::sleep(Duration::from_secs(6));
            }
            group.barrier()?;
        }
        "only connect" => {}
        other => panic!("unknown role {other}"),
    }
    Ok(())
}

/// Ends the process at once, as a kill does.
fn die() -> ! {
    std::process::abort()
}

/// The entry of the ranks; without a role it is an empty test.
#[test]
fn as_a_rank() {
    let Ok(role) = std::env::var(ROLE) else { return };
    if let Err(error) = play(&role) {
        eprintln!("{error}");
        std::process::exit(7);
    }
}

#[test]
fn two_and_four_processes_compute_the_same() {
    for size in [2, 4] {
        for output in outputs("operations", size) {
            assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), errors(&output));
        }
    }
}

#[test]
fn different_shapes_and_operations_are_refused_on_all_ranks() {
    let refused: Vec<String> = outputs("unequal sizes", 2).iter().map(error).collect();
    assert!(
        refused[0].contains(
            "rank 0 of 2: all_reduce_sum: this rank calls all_reduce_sum of Float [3, 2] and rank 1 calls all_reduce_sum of \
             Float [4, 2]"
        ),
        "{refused:?}"
    );
    assert!(
        refused[1].contains("rank 1 of 2: all_reduce_sum: this rank calls all_reduce_sum of Float [4, 2]"),
        "{refused:?}"
    );
    let refused: Vec<String> = outputs("unequal operations", 2).iter().map(error).collect();
    assert!(refused[0].contains("calls broadcast of Int64 [3] from rank 1 and rank 1 calls barrier"), "{refused:?}");
}

#[test]
fn different_values_are_refused_on_all_ranks() {
    let refused: Vec<String> = outputs("unequal values", 3).iter().map(error).collect();
    assert!(refused[0].contains("rank 0 of 3: compare: this rank and rank 2 have different pairs"), "{refused:?}");
    assert!(refused[2].contains("rank 2 of 3: compare: this rank and rank 0 have different pairs"), "{refused:?}");
}

#[test]
fn a_killed_process_ends_the_others() {
    let start = Instant::now();
    let ended = outputs("a rank dies", 4);
    assert!(start.elapsed() < Duration::from_secs(50), "{:?}", start.elapsed());
    for rank in [0, 2, 3] {
        let error = error(&ended[rank]);
        assert!(error.contains(&format!("rank {rank} of 4: all_reduce_sum: another rank ended")), "{error}");
    }
}

#[test]
fn a_late_process_is_an_error_after_the_timeout() {
    let port = free_port();
    let timeout = [("SER_GROUP_TIMEOUT", "2")];
    let children = [0, 1].map(|rank| start("a rank hangs", rank, 2, port, &timeout));
    let ended = children.map(|child| child.wait_with_output().unwrap());
    let error = error(&ended[0]);
    assert!(error.contains("rank 0 of 2: barrier: no answer within 2 s; a rank hangs or is late"), "{error}");
}

#[test]
fn processes_that_cannot_meet_are_an_error_after_the_timeout() {
    let timeout = [("SER_GROUP_TIMEOUT", "2")];
    // No process listens at the port.
    let start_time = Instant::now();
    let alone = start("only connect", 1, 2, free_port(), &timeout).wait_with_output().unwrap();
    let refused = error(&alone);
    assert!(refused.contains("rank 1 of 2: connect: rank 0 does not answer at MASTER_ADDR 127.0.0.1"), "{refused}");
    // The other rank is never started.
    let alone = start("only connect", 0, 2, free_port(), &timeout).wait_with_output().unwrap();
    let refused = error(&alone);
    assert!(
        refused.contains("rank 0 of 2: connect: the other ranks did not come") && refused.contains("1 of 2"),
        "{refused}"
    );
    // The port is taken.
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let alone = start("only connect", 0, 2, port, &timeout).wait_with_output().unwrap();
    let refused = error(&alone);
    assert!(refused.contains("another process listens at") && refused.contains(&port.to_string()), "{refused}");
    assert!(start_time.elapsed() < Duration::from_secs(30), "{:?}", start_time.elapsed());
}

#[test]
fn processes_that_disagree_are_refused_at_once() {
    let port = free_port();
    let children = [start("only connect", 0, 2, port, &[]), start("only connect", 1, 3, port, &[])];
    let ended = children.map(|child| error(&child.wait_with_output().unwrap()));
    for (rank, text) in ended.iter().enumerate() {
        assert!(text.starts_with(&format!("rank {rank} of")) && text.contains("WORLD_SIZE is "), "{text}");
    }
    let port = free_port();
    let children = [0, 1, 1].map(|rank| start("only connect", rank, 3, port, &[]));
    let ended = children.map(|child| error(&child.wait_with_output().unwrap()));
    assert!(ended.iter().all(|text| text.contains("two processes have RANK 1")), "{ended:?}");
}

#[test]
fn one_process_needs_no_variables() {
    let group = ProcessGroup::connect(&Environment::default()).unwrap();
    assert_eq!((group.rank(), group.size()), (0, 1));
    let mut x = floats(3);
    group.all_reduce_sum(&mut x).unwrap();
    group.broadcast(&mut x, 0).unwrap();
    group.barrier().unwrap();
    assert_eq!(bits(&x), bits(&floats(3)));
    assert_eq!(group.all_gather(&x).unwrap().iter().map(bits).collect::<Vec<_>>(), [bits(&x)]);
    let refused = |error: ser_libtorch::Error| error.to_string();
    assert!(refused(group.broadcast(&mut x, 1).unwrap_err()).contains("root 1 is not a rank of 1"));
    let half = floats(3).to_kind(Kind::Half);
    assert!(refused(group.all_gather(&half).unwrap_err()).contains("the tensor is Half"));
    assert!(refused(group.all_gather(&x.tr()).unwrap_err()).contains("must be contiguous"));
}
