//! What a test sees of its own process while other tests run in it: connections to one port, tasks of its own runtime, threads
//! by name. And servers that misbehave.

// Not each feature has a test that needs each of these.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::TcpListener;

use sakidori_scalers::{Freshness, Scaler};
use tokio::runtime::Handle;

/// Open sockets to a port on 127.0.0.1, connected or connecting.
pub fn connections_to(port: u16) -> usize {
    let remote = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let open = table.lines().skip(1).filter(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // Closed sockets linger without an inode.
        columns[2] == remote && columns[9] != "0"
    });
    open.count()
}

/// Tasks of this test's runtime that have not ended.
pub fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Threads of this process whose name begins so (Linux keeps 15 bytes of it).
pub fn threads(name: &str) -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    threads
        // One that has ended meanwhile has no name.
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
        .filter(|found| found.starts_with(name))
        .count()
}

/// Reads so often, and expects that each reading fails.
pub async fn failing_polls(scaler: &dyn Scaler, times: usize) {
    for _ in 0..times {
        let answer = scaler.read(&Freshness::now()).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

/// The port of a server that answers each connection's first bytes with these, and then says nothing until the client goes. With
/// none it is a server that hangs.
pub fn canned(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process; a thread that waits for connections costs nothing.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    port
}

/// A port that nobody listens on.
pub fn nobody() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
