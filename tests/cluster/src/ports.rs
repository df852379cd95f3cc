//! Free TCP ports on loopback that stay ours, also while a server is down between two runs.
//!
//! Port 0 is not enough: the kernel takes such ports from the range it also uses for outgoing connections, so while a
//! killed broker is away another process's connection may get its port, and a client that reconnects to it can even
//! connect to itself. These ports come from below that range; a lock on a file per port, which the kernel drops when
//! the process ends, keeps two test processes from choosing the same one.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};

use crate::install;

/// Below this are ports of well-known services (5432, 5672, 8080, 9090, ...).
const LOWEST: u16 = 20_000;
/// Where Linux starts its ephemeral range when /proc can't be read.
const USUAL_EPHEMERAL_START: u16 = 32_768;

/// A port of 127.0.0.1 that no other test takes while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Held for its lock.
    _lock: File,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Errors
    /// When no port between 20000 and the kernel's ephemeral range is free, or the folder of locks
    /// (`$TMPDIR/sakidori-ports-UID`) can't be written.
    pub fn take() -> Result<Port> {
        let end = ephemeral_start();
        if end <= LOWEST {
            bail!(
                "net.ipv4.ip_local_port_range starts at {end}: no ports are left between {LOWEST} and it"
            );
        }
        let count = end - LOWEST;
        // Each process starts its search elsewhere and never looks at a port twice in a row.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start = (std::process::id().wrapping_mul(97) % u32::from(count)) as u16;
        for _ in 0..count {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
            let number = LOWEST + (start + step) % count;
            if let Some(lock) = lock(number)?
                && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
            {
                return Ok(Port {
                    number,
                    _lock: lock,
                });
            }
        }
        bail!("no free port between {LOWEST} and {end}");
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

fn lock(number: u16) -> Result<Option<File>> {
    // A folder per user, for nobody can open another's files. Between users the test of the port itself must do.
    let user = install::user_id().unwrap_or_default();
    let dir = std::env::temp_dir().join(format!("sakidori-ports-{user}"));
    std::fs::create_dir_all(&dir)
        .with_context(|| format!("can't make the folder {}", dir.display()))?;
    let path = dir.join(number.to_string());
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("can't open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("can't lock {}", path.display()))
        }
    }
}

fn ephemeral_start() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(USUAL_EPHEMERAL_START)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_differ_and_are_free_to_bind() {
        let ports: Vec<Port> = (0..50).map(|_| Port::take().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 50);
        for number in numbers {
            TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        }
    }

    #[test]
    fn a_port_in_use_is_not_given() {
        let taken = Port::take().unwrap();
        assert!(
            lock(taken.number()).unwrap().is_none(),
            "the lock holds within one process too"
        );
    }
}
