use super::*;
use std::net::TcpListener;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn tcp() -> Arc<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
}

fn wait(what: Awaited, until: Instant) -> Wait {
    Wait { what, until: Some(until) }
}

#[test]
fn what_arrives_while_a_connection_is_served_is_told_when_it_is_parked() {
    let mut table = Table::new();
    let token = table.insert(tcp());
    let until = wait(Awaited::Next, Instant::now() + MINUTE);
    assert_eq!(table.arrived(token), None);
    assert_eq!(table.arrived(token), None);
    assert_eq!(table.park(token, 'a', until), Some('a'));
    assert_eq!(table.park(token, 'a', until), None);
    assert_eq!(table.arrived(token), Some('a'));
    assert_eq!(table.arrived(token), None);
}

#[test]
fn a_place_that_is_left_is_not_mistaken_for_its_successors() {
    let mut table = Table::new();
    let first = table.insert(tcp());
    assert!(table.remove(first).is_some());
    assert!(table.remove(first).is_none());
    let second = table.insert(tcp());
    assert_eq!(first.index, second.index);
    let now = Instant::now();
    assert_eq!(table.park(second, 'b', wait(Awaited::First, now)), None);
    assert_eq!(table.arrived(first), None);
    assert_eq!(table.park(first, 'a', wait(Awaited::First, now)), Some('a'));
    assert_eq!(table.len(), 1);
    assert_eq!(table.arrived(second), Some('b'));
}

#[test]
fn tokens_survive_the_way_through_a_number() {
    for token in
        [Token { index: 0, generation: 0 }, Token { index: u32::MAX, generation: GENERATIONS - 1 }]
    {
        assert_eq!(Token::from_u64(token.to_u64()), token);
        assert!(token.to_u64() < u64::MAX / 2 + 1);
    }
}

#[test]
fn deadlines_that_move_are_looked_at_once() {
    let mut table = Table::new();
    let token = table.insert(tcp());
    let now = Instant::now();
    for n in 0..1000 {
        let until = wait(Awaited::Next, now + MINUTE + Duration::from_millis(n));
        assert_eq!(table.park(token, 'a', until), None);
        assert_eq!(table.arrived(token), Some('a'));
    }
    assert_eq!(table.looks.len(), 1);
    assert_eq!(table.park(token, 'a', wait(Awaited::Next, now + 2 * MINUTE)), None);
    assert_eq!(table.next_look(), Some(now + MINUTE));
    assert_eq!(table.expired(now + MINUTE), None);
    assert_eq!(table.next_look(), Some(now + 2 * MINUTE));
    assert_eq!(table.expired(now + 2 * MINUTE), Some((token, 'a')));
    assert_eq!(table.expired(now + 2 * MINUTE), None);
    assert_eq!(table.next_look(), None);
}

#[test]
fn a_deadline_that_comes_nearer_is_kept() {
    let mut table = Table::new();
    let token = table.insert(tcp());
    let now = Instant::now();
    assert_eq!(table.park(token, 'a', wait(Awaited::Next, now + 2 * MINUTE)), None);
    assert_eq!(table.arrived(token), Some('a'));
    assert_eq!(table.park(token, 'a', wait(Awaited::Rest, now + MINUTE)), None);
    assert_eq!(table.expired(now + MINUTE), Some((token, 'a')));
    // The place is used by somebody else when the old moment comes.
    assert!(table.remove(token).is_some());
    let next = table.insert(tcp());
    assert_eq!(table.park(next, 'b', wait(Awaited::Next, now + 3 * MINUTE)), None);
    assert_eq!(table.expired(now + 2 * MINUTE), None);
    assert_eq!(table.expired(now + 3 * MINUTE), Some((next, 'b')));
}

#[test]
fn a_deadline_passes_only_for_who_waits() {
    let mut table = Table::<char>::new();
    let token = table.insert(tcp());
    let now = Instant::now();
    assert_eq!(table.park(token, 'a', wait(Awaited::Next, now)), None);
    assert_eq!(table.arrived(token), Some('a'));
    assert_eq!(table.expired(now), None);
    // Parked again, it is looked at again.
    assert_eq!(table.park(token, 'a', wait(Awaited::Next, now)), None);
    assert_eq!(table.expired(now), Some((token, 'a')));
    assert_eq!(table.park(token, 'a', Wait { what: Awaited::Next, until: None }), None);
    assert_eq!(table.next_look(), None);
}

#[test]
fn a_drain_takes_the_idle_and_hurries_the_fresh() {
    let mut table = Table::new();
    let now = Instant::now();
    let tokens: Vec<Token> = (0..4).map(|_| table.insert(tcp())).collect();
    let later = now + MINUTE;
    assert_eq!(table.park(tokens[0], 'a', wait(Awaited::First, later)), None);
    assert_eq!(table.park(tokens[1], 'b', wait(Awaited::Next, later)), None);
    assert_eq!(table.park(tokens[2], 'c', wait(Awaited::Rest, later)), None);
    assert_eq!(table.take_idle(), [(tokens[1], 'b')]);
    table.hurry_first(now);
    assert_eq!(table.expired(now), Some((tokens[0], 'a')));
    assert_eq!(table.expired(now), None);
    assert_eq!(table.len(), 4);
    table.cut();
    assert_eq!(table.take_parked(), [(tokens[2], 'c')]);
}

#[test]
fn short_connections_do_not_pile_up_their_deadlines() {
    let mut table = Table::new();
    let until = Instant::now() + MINUTE;
    let kept = table.insert(tcp());
    assert_eq!(table.park(kept, 'k', wait(Awaited::Next, until)), None);
    for _ in 0..10_000 {
        let token = table.insert(Arc::clone(table.slots[0].tcp.as_ref().unwrap()));
        assert_eq!(table.park(token, 'a', wait(Awaited::First, until)), None);
        assert_eq!(table.arrived(token), Some('a'));
        table.remove(token);
    }
    assert!(table.looks.len() < 2_000, "{}", table.looks.len());
    assert_eq!(table.expired(until), Some((kept, 'k')));
}
