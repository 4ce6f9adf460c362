// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel says of processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A process, known by when it began.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    parent: u32,
    began: u64,
    arguments: String,
}

impl Process {
    /// `None`: it has ended.
    fn read(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if fields[0] == "Z" {
            return None;
        }
        let (parent, began) = (fields[1].parse().ok()?, fields[19].parse().ok()?);
        Some(Process { pid, parent, began, arguments: arguments(pid)? })
    }

    pub(crate) fn lives(&self) -> bool {
        Process::read(self.pid).is_some_and(|now| now.began == self.began)
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn arguments(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

/// Every process that has to do with a folder, by its arguments or where it is, and its children.
pub(crate) fn below(folder: &Path) -> Vec<Process> {
    let name = folder.to_str().unwrap();
    let all: Vec<Process> = pids().filter_map(Process::read).collect();
    let mut ours: BTreeSet<u32> = BTreeSet::new();
    for process in &all {
        let at = fs::read_link(format!("/proc/{}/cwd", process.pid));
        if process.arguments.contains(name) || at.is_ok_and(|at| at.starts_with(folder)) {
            ours.insert(process.pid);
        }
    }
    loop {
        let children = all.iter().filter(|it| ours.contains(&it.parent)).map(|it| it.pid);
        let more: BTreeSet<u32> = children.filter(|pid| !ours.contains(pid)).collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    all.into_iter().filter(|process| ours.contains(&process.pid)).collect()
}

/// Where they listen (proc(5), `/proc/net/tcp`; state 0A is LISTEN).
pub(crate) fn listeners(processes: &[Process]) -> Vec<(SocketAddr, String)> {
    let mut sockets = BTreeMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == "0A" {
                sockets.insert(format!("socket:[{}]", fields[9]), address(fields[1]));
            }
        }
    }
    let mut found = Vec::new();
    for process in processes {
        let files = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten();
        for file in files.flatten().filter_map(|file| fs::read_link(file.path()).ok()) {
            if let Some(at) = sockets.get(file.to_str().unwrap_or_default()) {
                found.push((*at, process.arguments.clone()));
            }
        }
    }
    found
}

/// Words of 32 bits as the machine has them, then the port.
fn address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').unwrap();
    let words = ip.as_bytes().chunks(8).map(|word| {
        u32::from_str_radix(std::str::from_utf8(word).unwrap(), 16).unwrap().to_ne_bytes()
    });
    let bytes: Vec<u8> = words.flatten().collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).unwrap())),
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).unwrap())
}

/// Looks at the arguments of all processes, again and again.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Watch {
    pub(crate) fn start() -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !told.load(Ordering::Relaxed) {
                seen.extend(pids().filter_map(arguments));
                std::thread::sleep(Duration::from_millis(2));
            }
            seen
        });
        Watch { stop, thread }
    }

    pub(crate) fn seen(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
