//! `kill -9` at a hundred random moments of downloads and a hundred of uploads, half of them of the client and
//! half of the server, each followed by another try: in the end the bytes are the same, before it there is no
//! file that looks complete, and the last try moves no more than what was missing.
//!
//! The clients reach the server through a proxy that works, so that a server that is started again on another
//! port has the same URL.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_common::digest::Sha256;
use sealpair_tests::moments::Moments;
use sealpair_tests::peers::{LossyProxy, Plan, Way};
use sealpair_tests::{DEADLINE, Run, SealpairServer};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often somebody is killed in each test before the transfer is done.
const KILLS: usize = 50;

/// Long enough that most of the time of a transfer is spent on its content.
const LENGTH: usize = 12 << 20;

fn sha256(path: &Path) -> Sha256 {
    Sha256::of(fs::read(path).unwrap()).unwrap()
}

/// Two ends, either of which may be killed.
struct Pair {
    dir: TempDir,
    server: Option<SealpairServer>,
    proxy: LossyProxy,
    ca: PathBuf,
    moments: Moments,
}

/// When somebody is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// After so long: before the content, while it moves, or when it has arrived.
    Time(Duration),
    /// When so many bytes have gone this way.
    Bytes(Way, u64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Victim {
    Client,
    Server,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let server = Self::serve(dir.path());
        let proxy = LossyProxy::new(server.address(), |_| Plan::GOOD);
        let ca = server.ca();
        Self { dir, server: Some(server), proxy, ca, moments: Moments::new() }
    }

    fn serve(dir: &Path) -> SealpairServer {
        SealpairServer::start(|s| {
            s.writable().serving(dir.join("root")).state_dir(dir.join("server-state"))
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn client(&self, args: &[&str]) -> Run {
        let run = Run::of("sealpair").args(args).arg("--ca").arg(&self.ca);
        run.env("XDG_STATE_HOME", self.file("client-state")).current_dir(self.dir.path())
    }

    /// Runs a client, kills the victim after a while, and says whether the client got through nevertheless. A
    /// server that was killed is started again.
    fn try_once(&mut self, args: &[&str], victim: Victim, moment: Moment) -> bool {
        let mut client = self.client(args).start();
        let began = Instant::now();
        let is_over = || match moment {
            Moment::Time(after) => began.elapsed() >= after,
            Moment::Bytes(way, bytes) => self.proxy.moved(way) >= bytes,
        };
        while !is_over() && !client.has_ended() {
            std::thread::sleep(Duration::from_micros(100));
        }
        match victim {
            Victim::Client if client.has_ended() => {}
            Victim::Client => client.signal(Signal::KILL),
            Victim::Server => {
                let mut server = self.server.take().unwrap();
                server.signal(Signal::KILL);
                server.wait();
                let server = Self::serve(self.dir.path());
                self.proxy.redirect(server.address());
                self.server = Some(server);
            }
        }
        let ended = client.wait();
        match ended.code() {
            Some(0) => true,
            // Killed; or not connected, lost, cut short.
            None if victim == Victim::Client => false,
            Some(6 | 24) if victim == Victim::Server => false,
            _ => panic!("{ended}"),
        }
    }

    /// Transfers one file after the other with that many kills in all. `check` looks at what is there after
    /// each try; it is told whether the transfer has succeeded.
    fn survive(
        &mut self,
        victim: Victim,
        way: Way,
        transfer: impl Fn(&Self, usize) -> (Vec<String>, Box<dyn Fn(bool)>),
    ) {
        let until = Instant::now() + DEADLINE * 3;
        // How long one takes that nobody disturbs.
        let (args, check) = transfer(self, 0);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let began = Instant::now();
        self.client(&args).run().expect_success();
        let usual = began.elapsed();
        check(true);
        let (mut kills, mut transfers, mut resumed) = (0, 1, 0);
        // What a dead server has sent is in the kernel's buffers and arrives nevertheless: later would be too
        // late to hurt anybody.
        let latest = match (victim, way) {
            (Victim::Server, Way::Down) => LENGTH / 2,
            _ => LENGTH,
        };
        while kills < KILLS {
            let (args, check) = transfer(self, transfers);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            loop {
                assert!(Instant::now() < until, "{kills} kills: seed {}", self.moments.seed());
                let (there, before) = (self.unfinished(), self.proxy.moved(way));
                // Most of a transfer's time is its content, but not on every machine.
                let moment = match self.moments.below(4) {
                    0 => Moment::Time(self.moments.within(usual)),
                    _ => Moment::Bytes(way, before + self.moments.below(latest as u64)),
                };
                let done = self.try_once(&args, victim, moment);
                check(done);
                if done {
                    // No more than was missing, in records that are a little longer than what they hold, and
                    // the handshakes.
                    let moved = self.proxy.moved(way) - before;
                    let missing = LENGTH as u64 - there;
                    let most = missing + missing / 256 + (64 << 10);
                    assert!(moved <= most, "{there} bytes were there, and {moved} were moved");
                    resumed += usize::from(there > 0);
                    break;
                }
                kills += 1;
            }
            transfers += 1;
        }
        println!("{kills} kills, {} transfers, of which {resumed} were resumed", transfers - 1);
        assert!(resumed > 0, "nothing was ever resumed");
    }

    /// How much is there of the transfer under way: of a download at the client, of an upload at the server.
    fn unfinished(&self) -> u64 {
        let folders = [self.dir.path().to_owned(), self.file("root")];
        let entries = folders.into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let parts = entries.map(|entry| entry.unwrap()).filter(|entry| {
            let name = entry.file_name().into_string().unwrap();
            name.ends_with(".part")
                || name.starts_with(".sealpair-upload-") && !name.contains(".json")
        });
        parts.map(|part| part.metadata().unwrap().len()).max().unwrap_or(0)
    }
}

fn download(victim: Victim) {
    let mut pair = Pair::new();
    let content = pair.moments.bytes(LENGTH);
    let source = pair.file("root/source");
    fs::write(&source, &content).unwrap();
    let expected = sha256(&source);
    pair.survive(victim, Way::Down, |pair, number| {
        let target = pair.file(&format!("copy-{number}"));
        let url = pair.proxy.url("/source");
        let args = ["get", "--continue", "--quiet", "-o", target.to_str().unwrap(), &url]
            .map(str::to_owned);
        let check = move |done: bool| {
            if done {
                assert_eq!(sha256(&target), expected);
                fs::remove_file(&target).unwrap();
            } else if target.exists() {
                // It had its name when it was killed.
                assert_eq!(sha256(&target), expected);
                fs::remove_file(&target).unwrap();
            }
        };
        (args.to_vec(), Box::new(check))
    });
    assert!(leftovers(pair.dir.path()).is_empty(), "{:?}", leftovers(pair.dir.path()));
}

fn upload(victim: Victim) {
    let mut pair = Pair::new();
    let content = pair.moments.bytes(LENGTH);
    let source = pair.file("source");
    fs::write(&source, &content).unwrap();
    let expected = sha256(&source);
    pair.survive(victim, Way::Up, |pair, number| {
        let target = pair.file(&format!("root/copy-{number}"));
        let url = pair.proxy.url(&format!("/copy-{number}"));
        let args = ["put", "--quiet", source.to_str().unwrap(), &url].map(str::to_owned);
        let check = move |done: bool| {
            if done || target.exists() {
                assert_eq!(sha256(&target), expected);
            }
            if done {
                fs::remove_file(&target).unwrap();
            }
        };
        (args.to_vec(), Box::new(check))
    });
}

/// What unfinished downloads have left.
fn leftovers(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains(".part")).collect()
}

#[test]
fn a_download_survives_a_client_that_is_killed() {
    download(Victim::Client);
}

#[test]
fn a_download_survives_a_server_that_is_killed() {
    download(Victim::Server);
}

#[test]
fn an_upload_survives_a_client_that_is_killed() {
    upload(Victim::Client);
}

#[test]
fn an_upload_survives_a_server_that_is_killed() {
    upload(Victim::Server);
}
