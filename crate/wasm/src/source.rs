//! Models read piece by piece: a `Blob` or `File`, or a file on a server.

use imprint_core::{Error, ErrorKind, Result, gguf::Source};
use js_sys::Uint8Array;
use sha2::{Digest, Sha256};
use wasm_bindgen::JsCast;
use web_sys::{AbortSignal, Blob, Response};

use crate::{
    fetch::{header, request, unreachable},
    range::ContentRange,
    web::{self, settle},
};

/// Bytes hashed at once.
const PIECE_BYTES: u64 = 4 << 20;

/// A model that the browser holds: a file the person chose, a file of the store, or a download kept in memory.
///
/// Only what is being read is in wasm's memory.
#[derive(Clone)]
pub struct BlobSource(Blob);

impl BlobSource {
    /// Reads from `blob`.
    pub fn new(blob: Blob) -> Self {
        Self(blob)
    }

    /// The SHA-256 of all of it, in hex; `on_piece` is told the bytes hashed so far and may stop the work.
    ///
    /// # Errors
    /// `model-unreachable`, and what `on_piece` returns.
    pub async fn sha256(&self, on_piece: &mut dyn FnMut(u64) -> Result<()>) -> Result<String> {
        let mut hash = Sha256::new();
        self.hash_into(&mut hash, self.size_bytes(), on_piece).await?;
        Ok(hex(hash))
    }

    /// Puts the first `len` bytes into `hash`.
    ///
    /// # Errors
    /// As [`BlobSource::sha256`].
    pub async fn hash_into(
        &self,
        hash: &mut Sha256,
        len: u64,
        on_piece: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        while at < len {
            let piece = PIECE_BYTES.min(len - at);
            hash.update(self.read_at(at, piece as usize).await?);
            at += piece;
            on_piece(at)?;
        }
        Ok(())
    }
}

impl Source for BlobSource {
    fn size_bytes(&self) -> u64 {
        self.0.size() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let end = offset as f64 + len as f64;
        let buffer = match self.0.slice_with_f64_and_f64(offset as f64, end) {
            Ok(slice) => web::settle(Ok(slice.array_buffer())).await,
            Err(thrown) => Err(thrown),
        };
        let buffer = buffer.map_err(|thrown| {
            let what = format!("{len} bytes at {offset} of the model cannot be read; open it again");
            web::caught(ErrorKind::ModelUnreachable, &what, &thrown)
        })?;
        let bytes = Uint8Array::new(buffer.unchecked_ref());
        if bytes.length() as usize != len {
            let what = format!("the model gave {} of {len} bytes at {offset}; open it again", bytes.length());
            return Err(Error::new(ErrorKind::ModelUnreachable, what));
        }
        Ok(bytes.to_vec())
    }
}

/// A finished hash in hex.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes `source` while telling `on_progress`, and refuses another hash than the expected one.
///
/// # Errors
/// `model-corrupt` naming both hashes, `cancelled`, `model-unreachable`.
pub async fn verify(
    source: &BlobSource,
    expected: Option<&str>,
    signal: Option<&AbortSignal>,
    on_progress: &dyn Fn(u64),
) -> Result<String> {
    let found = source
        .sha256(&mut |done| {
            on_progress(done);
            web::check_signal(signal)
        })
        .await?;
    check_hash(&found, expected.map(Expected::Told))?;
    Ok(found)
}

/// The hash that a model must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected<'a> {
    /// The caller named it.
    Told(&'a str),
    /// The first download from its address had it.
    Learned(&'a str),
}

impl<'a> Expected<'a> {
    /// The hash in hex.
    pub fn sha256(self) -> &'a str {
        match self {
            Self::Told(sha256) | Self::Learned(sha256) => sha256,
        }
    }
}

/// Refuses another hash than the expected one.
///
/// # Errors
/// `model-corrupt`, or `model-changed` where the hash was learned, naming both.
pub fn check_hash(found: &str, expected: Option<Expected<'_>>) -> Result<()> {
    match expected {
        Some(Expected::Told(expected)) if found != expected => {
            let what = format!("the model's SHA-256 is {found}, not {expected}; it is damaged or another file");
            Err(Error::new(ErrorKind::ModelCorrupt, what))
        }
        Some(Expected::Learned(expected)) if found != expected => {
            let what = format!(
                "the model's SHA-256 is {found}; the file that was first fetched from there had {expected}; forget that \
                 hash or name the new one to take the new file"
            );
            Err(Error::new(ErrorKind::ModelChanged, what))
        }
        _ => Ok(()),
    }
}

/// Bytes asked for first: they tell the length of the whole, and the header of a model begins in them.
const FIRST_BYTES: u64 = 64 << 10;

/// A model on a server that sends parts of files, read without downloading it.
pub struct RangeSource<'a> {
    url: &'a str,
    signal: Option<&'a AbortSignal>,
    size_bytes: u64,
    first: Vec<u8>,
}

impl<'a> RangeSource<'a> {
    /// Asks the server for the beginning and the length of the file.
    ///
    /// # Errors
    /// `model-unreachable` where the network or the server fails, where the server sends whole files only, or where it
    /// does not tell the length; `cancelled`.
    pub async fn open(url: &'a str, signal: Option<&'a AbortSignal>) -> Result<Self> {
        let (range, first) = part(url, signal, 0, FIRST_BYTES).await?;
        let size_bytes = match range.and_then(|range| range.total) {
            Some(total) => total,
            None => length(url, signal).await?,
        };
        Ok(Self { url, signal, size_bytes, first })
    }
}

impl Source for RangeSource<'_> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let here = usize::try_from(offset).ok().and_then(|at| self.first.get(at..at.checked_add(len)?));
        if let Some(bytes) = here {
            return Ok(bytes.to_vec());
        }
        let (range, bytes) = part(self.url, self.signal, offset, len as u64).await?;
        let total = range.and_then(|range| range.total);
        if bytes.len() != len || total.is_some_and(|total| total != self.size_bytes) {
            let what = format!("the model at {} changed while it was read; try again", self.url);
            return Err(Error::new(ErrorKind::ModelUnreachable, what));
        }
        Ok(bytes)
    }
}

/// Fetches up to `len` bytes from `offset` on. A server on another origin may hide what it says of the range.
async fn part(
    url: &str,
    signal: Option<&AbortSignal>,
    offset: u64,
    len: u64,
) -> Result<(Option<ContentRange>, Vec<u8>)> {
    let wrong = |what: String| Err(Error::new(ErrorKind::ModelUnreachable, what));
    // The last byte counts.
    let asked = format!("bytes={offset}-{}", offset + len.max(1) - 1);
    let response = request(url, "GET", Some(&asked), signal).await?;
    let status = response.status();
    if status != 206 {
        drop_body(&response);
        return match status {
            200 => wrong(format!("the server sends the model at {url} only as a whole; open it to download all of it")),
            _ => wrong(format!("the server answers {status} for the model at {url}; check the address")),
        };
    }
    let header = header(&response.headers(), "content-range");
    let range = header.as_deref().and_then(ContentRange::parse);
    let other = range.is_none_or(|range| range.start != offset || range.len > len);
    if let Some(header) = header.filter(|_| other) {
        drop_body(&response);
        return wrong(format!(
            "the server sends {header:?} of the model at {url} where {asked:?} was asked; try again"
        ));
    }
    let buffer = settle(response.array_buffer()).await.map_err(|thrown| unreachable(url, signal, &thrown))?;
    let bytes = Uint8Array::new(&buffer).to_vec();
    if range.is_some_and(|range| range.len != bytes.len() as u64) {
        return wrong(format!("the model at {url} broke off; try again"));
    }
    Ok((range, bytes))
}

/// The length of the file, from a server that did not tell it with a part.
async fn length(url: &str, signal: Option<&AbortSignal>) -> Result<u64> {
    let response = request(url, "HEAD", None, signal).await?;
    let headers = response.headers();
    // The length of a packed answer says nothing about the file.
    let plain = header(&headers, "content-encoding").is_none_or(|encoding| encoding == "identity");
    let length = header(&headers, "content-length").filter(|_| plain && response.ok());
    length.and_then(|length| length.parse().ok()).ok_or_else(|| {
        let what = format!("the server does not tell the size of the model at {url}; open it to download all of it");
        Error::new(ErrorKind::ModelUnreachable, what)
    })
}

/// A SHA-256 as a person may give it, in small letters.
///
/// # Errors
/// `invalid-option` for what is none.
pub fn checked_sha256(given: Option<&str>) -> Result<Option<String>> {
    let Some(given) = given else { return Ok(None) };
    if given.len() == 64 && given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Some(given.to_ascii_lowercase()));
    }
    let what = format!("sha256 is {given:?}, it must be 64 hexadecimal digits");
    Err(Error::new(ErrorKind::InvalidOption, what))
}

/// Keeps a body that nobody reads from arriving.
fn drop_body(response: &Response) {
    if let Some(body) = response.body() {
        let cancelled = body.cancel();
        // Nobody waits for it, so its refusal must not be heard either.
        wasm_bindgen_futures::spawn_local(async move {
            let _ = settle(Ok(cancelled)).await;
        });
    }
}
