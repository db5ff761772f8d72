//! A `Blob` or `File` read piece by piece.

use imprint_core::{Error, ErrorKind, Result, gguf::Source};
use js_sys::Uint8Array;
use sha2::{Digest, Sha256};
use wasm_bindgen::JsCast;
use web_sys::{AbortSignal, Blob};

use crate::web;

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
    check_hash(&found, expected)?;
    Ok(found)
}

/// Refuses another hash than the expected one.
///
/// # Errors
/// `model-corrupt` naming both.
pub fn check_hash(found: &str, expected: Option<&str>) -> Result<()> {
    match expected {
        Some(expected) if found != expected => {
            let what = format!("the model's SHA-256 is {found}, not {expected}; it is damaged or another file");
            Err(Error::new(ErrorKind::ModelCorrupt, what))
        }
        _ => Ok(()),
    }
}
