#![allow(clippy::panic)]

use ser_core::PairId;

use super::*;

fn pairs(n: usize) -> Vec<Arc<Pair>> {
    (0..n).map(|i| Arc::new(Pair::from_text(PairId(i as u64), "1234", "123", "123"))).collect()
}

fn parts(work: Option<Work>) -> Vec<Part> {
    match work.unwrap() {
        Work::Score(parts) => parts,
        Work::Change(change) => panic!("a change to {}", change.name),
    }
}

fn sizes(work: Option<Work>) -> Vec<(u64, usize, usize)> {
    parts(work).iter().map(|part| (part.id, part.first, part.pairs.len())).collect()
}

#[test]
fn batches_cross_requests_and_split_them() {
    let queue = Arc::new(Queue::new(100, "m"));
    let _tickets = [3, 1, 4].map(|n| queue.submit(pairs(n), false).unwrap());
    assert_eq!(queue.waiting(), 8);
    assert_eq!(sizes(queue.take(5, 1000)), [(0, 0, 3), (1, 0, 1), (2, 0, 1)]);
    // 10 bytes a pair: two fit into 25 bytes.
    assert_eq!(sizes(queue.take(5, 25)), [(2, 1, 2)]);
    // A pair over the limit is a batch of its own.
    assert_eq!(sizes(queue.take(5, 1)), [(2, 3, 1)]);
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn a_request_whose_client_left_is_dropped() {
    let queue = Arc::new(Queue::new(4, "m"));
    let first = queue.submit(pairs(3), false).unwrap();
    assert_eq!(queue.submit(pairs(2), false).err(), Some(Refused::Full));
    drop(first);
    assert_eq!((queue.waiting(), queue.cancelled()), (0, 1));
    let second = queue.submit(pairs(4), false).unwrap();
    let taken = parts(queue.take(2, 1000));
    drop(second);
    // Scores of a request whose client left are dropped.
    queue.finish(&taken[0], Ok(vec![PairScores::new(0.0, 0.0); 2]));
    assert_eq!(queue.waiting(), 0);
    queue.close();
    assert_eq!(queue.submit(pairs(1), false).err(), Some(Refused::Closed));
    assert!(queue.take(2, 1000).is_none());
}

#[test]
fn a_failed_part_answers_the_request_at_once() {
    let queue = Arc::new(Queue::new(10, "m"));
    let mut ticket = queue.submit(pairs(4), false).unwrap();
    let taken = parts(queue.take(2, 1000));
    queue.finish(&taken[0], Err(Failure::TooLong(1)));
    assert_eq!(ticket.outcome.try_recv().unwrap(), Err(Failure::TooLong(1)));
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn a_change_is_made_between_requests() {
    let queue = Arc::new(Queue::new(100, "old"));
    let score = |work| {
        let parts = parts(work);
        for part in &parts {
            queue.finish(part, Ok(vec![PairScores::new(0.0, 0.0); part.pairs.len()]));
        }
        parts.len()
    };
    let mut tickets = vec![queue.submit(pairs(3), false).unwrap()];
    let mut outcome = queue.submit_change("new".to_owned()).unwrap();
    tickets.push(queue.submit(pairs(3), false).unwrap());
    // The request before the change is scored whole, in two batches, and no batch has pairs of the one after it.
    assert_eq!([score(queue.take(2, 1000)), score(queue.take(2, 1000))], [1, 1]);
    let Some(Work::Change(change)) = queue.take(9, 1000) else { panic!("a change") };
    assert!(!change.is_abandoned() && outcome.try_recv().is_err());
    queue.finish_change(change, Ok(()));
    assert_eq!(outcome.try_recv().unwrap(), Ok(()));
    assert_eq!(score(queue.take(9, 1000)), 1);
    let models: Vec<_> =
        tickets.iter_mut().map(|ticket| ticket.outcome.try_recv().unwrap().unwrap().model.to_string()).collect();
    assert_eq!(models, ["old", "new"]);
    // A change that fails leaves the model as it is, and one whose client left is told.
    drop(queue.submit_change("broken".to_owned()).unwrap());
    queue.close();
    let Some(Work::Change(change)) = queue.take(9, 1000) else { panic!("a change") };
    assert!(change.is_abandoned());
    queue.finish_change(change, Err("it is broken".to_owned()));
    assert_eq!((&*queue.model(), queue.changes()), ("new", 1));
    assert!(queue.take(9, 1000).is_none());
}
