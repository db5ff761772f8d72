//! Downloads over HTTP that go on where they stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::tls::{RootCerts, TlsConfig};

use crate::problem::{Kind, Problem, Result};
use crate::shelf::Watch;

/// How often in a row a download may stop without a single new byte.
const MAX_STALLS: u32 = 3;

/// What speaks HTTP here: patient with bodies, not with silence.
pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(Duration::from_secs(10)))
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(20)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        // The system's certificates, not a built-in list: a company's proxy may sign with its own.
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
    config.build().into()
}

/// The SHA-256 of a file in lower-case hex.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let unreadable = |e: std::io::Error| Problem::new(Kind::Disk, format!("cannot read {}: {e}", path.display()));
    let mut file = File::open(path).map_err(unreadable)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            return Ok(hex(digest));
        }
        digest.update(&buffer[..count]);
    }
}

/// A finished hash in hex.
pub(crate) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error of the network.
pub(crate) fn unreachable(error: impl std::fmt::Display) -> Problem {
    Problem::new(Kind::Unreachable, error.to_string())
}

/// Downloads into `part`, going on where an earlier attempt stopped.
///
/// # Errors
/// `Unreachable` when the server refuses, or when [`MAX_STALLS`] attempts in a row bring nothing; `Stopped`; `Disk`.
pub fn download(agent: &ureq::Agent, url: &str, part: &Path, watch: &dyn Watch) -> Result<()> {
    let mut stalls = 0;
    loop {
        let before = size(part);
        match download_rest(agent, url, part, watch) {
            Ok(()) => return Ok(()),
            Err(problem) if problem.kind() != Kind::Unreachable => return Err(problem),
            Err(problem) if size(part) > before => {
                stalls = 0;
                watch.note(&format!("interrupted ({problem}), going on"));
            }
            Err(problem) => {
                stalls += 1;
                if stalls == MAX_STALLS {
                    return Err(problem);
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Asks for what is missing of `part` and appends it.
fn download_rest(agent: &ureq::Agent, url: &str, part: &Path, watch: &dyn Watch) -> Result<()> {
    let have = size(part);
    let request = agent.get(url);
    let request = if have > 0 { request.header("Range", format!("bytes={have}-")) } else { request };
    let mut reply = request.call().map_err(unreachable)?;
    let fresh = match reply.status().as_u16() {
        200 => true,
        206 => false,
        416 => {
            // Longer than the file, or just complete: start again, the sum is checked afterwards.
            fs::remove_file(part)?;
            return Err(unreachable("the kept part does not fit the file"));
        }
        status @ (401 | 403) => return Err(unreachable(format_args!("{url} answers {status}: it wants a login"))),
        status => return Err(unreachable(format_args!("{url} answers {status}"))),
    };
    let start = if fresh { 0 } else { have };
    let length = reply.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let total = length.map(|length| start + length);
    let mut file = OpenOptions::new().create(true).write(true).append(!fresh).truncate(fresh).open(part)?;
    let mut body = reply.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut done = start;
    loop {
        let count = body.read(&mut buffer).map_err(unreachable)?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count])?;
        done += count as u64;
        if !watch.progress(done, total.unwrap_or(0)) {
            return Err(Problem::new(Kind::Stopped, format!("stopped; {done} bytes are kept for the next time")));
        }
    }
    if total.is_some_and(|total| total != size(part)) {
        return Err(unreachable(format_args!("the connection ended at byte {}", size(part))));
    }
    Ok(())
}
