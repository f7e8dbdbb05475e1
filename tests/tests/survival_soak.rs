//! Twenty seconds of everything at once: what the server has in the last third is what it had in the
//! first.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::survival::Usage;
use sealpair_tests::{Crowd, Manner, RawClient, SealpairServer, Survival};
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SPAN: Duration = Duration::from_secs(21);

/// Between two looks at what the server has.
const SAMPLE: Duration = Duration::from_millis(200);

/// How much more memory the last third may have on average, in KiB.
const MEMORY: u64 = 6 << 10;

#[test]
fn memory_and_descriptors_are_flat_under_good_and_bad_clients() {
    let server = SealpairServer::start(|server| {
        let args = ["--handshake-timeout", "1s", "--head-timeout", "1s", "--idle-timeout", "1s"];
        server.writable().file("a", vec![b'a'; 200_000]).args(args)
    });
    let tls = RawClient::context(&server, |_| {});
    let survival = Survival::begin_for(&server, 200);
    let until = Instant::now() + SPAN;
    let good = AtomicUsize::new(0);
    let bad = AtomicUsize::new(0);
    let mut samples: Vec<Usage> = Vec::new();
    thread::scope(|scope| {
        let (server, tls, good, bad) = (&server, &tls, &good, &bad);
        scope.spawn(move || {
            let mut round = 0;
            while Instant::now() < until {
                let mut client = RawClient::over(server.tcp(), tls);
                let put = "PUT /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
                let put = [put.as_bytes(), &[b'x'; 100_000]].concat();
                assert!(matches!(client.exchange(put).status, 201 | 204));
                assert_eq!(client.get("/up").body.len(), 100_000);
                assert_eq!(client.get("/a").body.len(), 200_000);
                assert_eq!(client.get("/none").status, 404);
                good.fetch_add(4, Ordering::SeqCst);
                round += 1;
                if round % 2 == 0 { client.close() } else { client.reset() }
            }
        });
        scope.spawn(move || {
            let manners = [
                Manner::Silent,
                Manner::HalfAHello,
                Manner::Handshaken,
                Manner::SlowHead,
                Manner::Idle,
            ];
            for manner in manners.into_iter().cycle() {
                if Instant::now() >= until {
                    break;
                }
                let crowd = Crowd::gather(server, manner, 20);
                bad.fetch_add(crowd.until_gone().len(), Ordering::SeqCst);
            }
        });
        scope.spawn(move || {
            let nonsense: [&[u8]; 5] = [
                b"nonsense\r\n\r\n",
                b"GET /a HTTP/1.1\r\n\r\n",
                b"GET /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
                b"PUT /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nhello",
                b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ];
            for (at, bytes) in nonsense.into_iter().cycle().enumerate() {
                if Instant::now() >= until {
                    break;
                }
                let mut client = RawClient::over(server.tcp(), tls);
                client.send(bytes);
                if at % 3 == 0 {
                    client.look();
                }
                client.reset();
                let mut tcp = server.tcp();
                tcp.write_all(b"\x16\x03\x01\xff\xffno hello").unwrap();
                sealpair_tests::raw::reset(&tcp);
                bad.fetch_add(2, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(5));
            }
        });
        while Instant::now() < until {
            samples.push(Usage::of(server));
            thread::sleep(SAMPLE);
        }
    });
    println!("{good:?} good requests, {bad:?} bad clients");
    assert!(good.load(Ordering::SeqCst) > 100 && bad.load(Ordering::SeqCst) > 100);
    let third = samples.len() / 3;
    let (first, last) = (&samples[..third], &samples[samples.len() - third..]);
    let memory = |part: &[Usage]| part.iter().map(|at| at.rss_kib).sum::<u64>() / third as u64;
    let descriptors = |part: &[Usage]| part.iter().map(|at| at.descriptors).sum::<usize>() / third;
    let (memory, descriptors) =
        ([memory(first), memory(last)], [descriptors(first), descriptors(last)]);
    println!("memory in KiB: {memory:?}, descriptors: {descriptors:?}");
    assert!(memory[1] <= memory[0] + MEMORY, "{memory:?}");
    // As many clients as there are at a time come and go.
    assert!(descriptors[1] <= descriptors[0] + 20, "{descriptors:?}");
    survival.end();
    let left = fs::read_dir(server.root()).unwrap().count();
    assert_eq!(left, 3, "nothing half is left");
    assert_eq!(server.stop(), 0);
}
