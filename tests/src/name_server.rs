//! A name server as a cluster has one: it knows some Services' names, and says of all others that there are none. It listens on a
//! loopback address of its own, since `resolv.conf` names no ports.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use sakidori_test_cluster::ports::Port;

/// The port of all name servers.
const DNS: u16 = 53;
/// What a question may be for: an IPv4 address.
const A: [u8; 2] = [0, 1];
/// Longer ones don't come over UDP without an agreement.
const LONGEST: usize = 512;
const HEADER: usize = 12;

/// A running name server, until it is dropped.
pub struct NameServer {
    address: Ipv4Addr,
    asked: Arc<Mutex<Vec<String>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    // Nobody else has this number, so nobody else has the address that is made of it.
    _port: Port,
}

impl NameServer {
    /// Of these names, in full and without a dot at the end.
    ///
    /// # Errors
    /// If it can't listen, which takes root.
    pub fn start(names: &[(&str, Ipv4Addr)]) -> Result<Self> {
        let port = Port::take()?;
        let [high, low] = port.number().to_be_bytes();
        let address = Ipv4Addr::new(127, 53, high, low);
        let socket = UdpSocket::bind(SocketAddrV4::new(address, DNS))
            .with_context(|| format!("can't listen on {address}:{DNS}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let names: BTreeMap<String, Ipv4Addr> = names
            .iter()
            .map(|(name, address)| ((*name).to_owned(), *address))
            .collect();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let ending = Arc::<AtomicBool>::default();
        let (heard, ended) = (asked.clone(), ending.clone());
        let thread = std::thread::spawn(move || {
            let mut packet = [0; LONGEST];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut packet) else {
                    continue;
                };
                if let Some((name, answer)) = answer(&packet[..length], &names) {
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.push(name);
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(Self {
            address,
            asked,
            ending,
            thread: Some(thread),
            _port: port,
        })
    }

    /// A pod's `resolv.conf`, as a kubelet writes it for a pod of this namespace.
    pub fn resolv_conf(&self, namespace: &str) -> String {
        format!(
            "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:5\n",
            self.address
        )
    }

    /// What it was asked for.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The name that a packet asks for, and the answer; `None` if it is no question. The packets are those of RFC 1035, 4.1.
fn answer(packet: &[u8], names: &BTreeMap<String, Ipv4Addr>) -> Option<(String, Vec<u8>)> {
    let mut at = HEADER;
    let mut labels: Vec<String> = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = packet.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
    let kind = packet.get(at..at + 2)?;
    let question = packet.get(HEADER..at + 4)?;
    let name = labels.join(".");
    let known = names.get(&name);
    // Of a name that is there, but for which there is nothing of this kind, the list is empty.
    let address = known.filter(|_| kind == A);
    let recursion_desired = packet[2] & 1;
    let no_such_name = if known.is_some() { 0 } else { 3 };
    let mut answer = packet[..2].to_vec();
    // A response by who knows best, who would also ask others.
    answer.extend([0x84 | recursion_desired, 0x80 | no_such_name]);
    answer.extend([0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    answer.extend(question);
    if let Some(address) = address {
        // The name of the question, an IPv4 address, good for a second.
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some((name, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: u8) -> Vec<u8> {
        let mut packet = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(b"\x05Queue\x04shop\0");
        packet.extend([0, kind, 0, 1]);
        packet
    }

    #[test]
    fn a_name_has_an_address_or_nothing_and_others_are_not_there() {
        let address = Ipv4Addr::new(127, 0, 0, 9);
        let names = BTreeMap::from([("queue.shop".to_owned(), address)]);
        for (kind, names, answers, code) in [
            (1, &names, 1, 0),
            (28, &names, 0, 0),
            (1, &BTreeMap::new(), 0, 3),
        ] {
            let (name, packet) = answer(&question(kind), names).unwrap();
            assert_eq!(name, "queue.shop");
            assert_eq!((packet[3] & 0xF, packet[7]), (code, answers));
            assert_eq!(packet.ends_with(&address.octets()), answers == 1);
        }
        assert_eq!(answer(&question(1)[..15], &names), None);
    }
}
