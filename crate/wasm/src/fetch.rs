//! A model's download: into the browser's storage, resumed where it broke off, checked by its hash.
//!
//! `If-Range` is not sent: to another origin it would cost a preflight that file servers refuse. The version in the answer
//! is compared instead, and the expected hash holds in any case.

use imprint_core::{Error, ErrorKind, Result};
use js_sys::{Promise, Uint8Array};
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;
use web_sys::{AbortSignal, Blob, Headers, ReadableStreamDefaultReader, RequestCache, RequestInit, Response, Url};

use crate::{
    source::{BlobSource, Expected, check_hash, hex},
    store::{
        check_room, full, megabytes,
        models::{Description, Place, Sink},
    },
    web::{self, caught, check_signal, field, settle},
};

/// Progress is told each time this much has come.
const TOLD_BYTES: u64 = 1 << 20;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch, catch)]
    fn js_fetch(url: &str, init: &RequestInit) -> Result<Promise, JsValue>;
}

/// What a download tells: its phase, bytes done, bytes in all (0 where the server does not say).
pub type OnProgress<'a> = &'a dyn Fn(&'static str, u64, u64);

/// The model that is wanted.
pub struct Wanted<'a> {
    /// Its absolute address.
    pub url: &'a str,
    /// The SHA-256 it must have, in lower-case hex.
    pub expected: Option<Expected<'a>>,
    /// Bytes that this device could hold at most, where that is known.
    pub most_bytes: Option<u64>,
    /// Stops the download; what has come is kept.
    pub signal: Option<&'a AbortSignal>,
    /// Told how far it has come.
    pub on_progress: OnProgress<'a>,
}

/// The model that was found or fetched.
pub struct Fetched {
    /// Its bytes.
    pub source: BlobSource,
    /// Their SHA-256 in hex.
    pub sha256: String,
    /// Whether it was in the browser's storage before.
    pub from_cache: bool,
    /// Whether it is there now.
    pub stored: bool,
}

/// Finds a model in the browser's storage, without any request, or fetches it there.
///
/// # Errors
/// `invalid-option` for what is no address; `model-unreachable` when the network or the server fails, with what has
/// arrived kept; `model-corrupt` for another hash or no GGUF file, `model-changed` for another than the first time, both
/// with nothing kept; `out-of-memory` and `storage-full` before any of it is fetched that does not fit; `cancelled`.
pub async fn model(wanted: &Wanted<'_>) -> Result<Fetched> {
    check_address(wanted.url)?;
    let Some(place) = Place::open(wanted.url, wanted.signal).await? else {
        return into_memory(wanted).await;
    };
    let learned = place.learned().await;
    let expected = wanted.expected.or(learned.as_deref().map(Expected::Learned));
    let wanted = &Wanted { expected, ..*wanted };
    let known = place.description().await.unwrap_or_default();
    let data = place.data().await;
    if let Some(blob) = data.clone().filter(|blob| is_whole(&known, blob, expected)) {
        let source = BlobSource::new(blob);
        return Ok(Fetched { source, sha256: known.sha256, from_cache: true, stored: true });
    }
    let fetched = into_store(wanted, &place, &known, data).await;
    match &fetched {
        // What the address gave once it has to give from now on.
        Ok(Fetched { sha256, stored: true, .. }) if learned.as_ref() != Some(sha256) => place.learn(sha256).await?,
        Err(error) if is_of_no_use(error.kind()) => place.clear().await,
        _ => {}
    }
    fetched
}

/// Whether what has arrived cannot be gone on with after such an error.
fn is_of_no_use(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ModelCorrupt | ErrorKind::ModelChanged | ErrorKind::StorageFull)
}

/// Refuses what is no absolute address.
///
/// # Errors
/// `invalid-option`.
pub fn check_address(url: &str) -> Result<()> {
    if Url::new(url).is_ok() {
        return Ok(());
    }
    let what = format!("the model's address {url:?} is not absolute; begin it with https://");
    Err(Error::new(ErrorKind::InvalidOption, what))
}

fn is_whole(known: &Description, blob: &Blob, expected: Option<Expected<'_>>) -> bool {
    let right = expected.is_none_or(|expected| expected.sha256() == known.sha256);
    known.complete && blob.size() as u64 == known.size_bytes && right
}

/// Refuses a file larger than all memory of this device, since it takes at least as much as it is long.
///
/// # Errors
/// `out-of-memory` with both figures.
pub fn check_memory(need_bytes: u64, most_bytes: Option<u64>) -> Result<()> {
    match most_bytes {
        Some(most) if need_bytes > most => {
            let (need, most) = (megabytes(need_bytes), megabytes(most));
            let what = format!("the model needs {need} of memory and this device has {most}; choose a smaller one");
            Err(Error::new(ErrorKind::OutOfMemory, what))
        }
        _ => Ok(()),
    }
}

async fn into_memory(wanted: &Wanted<'_>) -> Result<Fetched> {
    let mut answer = Answer::request(wanted, 0, "").await?;
    answer.check(wanted)?;
    answer.pour(wanted, Sink::memory(), Sha256::new()).await
}

/// Fetches what is missing.
async fn into_store(wanted: &Wanted<'_>, place: &Place, known: &Description, data: Option<Blob>) -> Result<Fetched> {
    // A part can be gone on with if the server names its version or the hash will tell.
    let sure = !known.version.is_empty() || wanted.expected.is_some();
    let part = data.filter(|_| !known.complete && known.url == wanted.url && sure);
    let part_bytes = part.as_ref().map_or(0, |blob| blob.size() as u64);
    if let Some(all) = part.clone().filter(|_| known.size_bytes == part_bytes && part_bytes > 0) {
        return complete(wanted, place, known, all).await;
    }
    let mut answer = Answer::request(wanted, part_bytes, &known.version).await?;
    answer.check(wanted)?;
    if let Err(full) = check_room(answer.total.saturating_sub(answer.start)).await {
        answer.cancel();
        return Err(full);
    }
    let mut description = answer.description(wanted);
    let mut hash = Sha256::new();
    if let Some(part) = part.filter(|_| answer.start > 0) {
        let mut tell = |done| {
            (wanted.on_progress)("verify", done, answer.start);
            check_signal(wanted.signal)
        };
        BlobSource::new(part).hash_into(&mut hash, answer.start, &mut tell).await?;
    }
    let opened = match place.describe(&description).await {
        Ok(()) => place.write(answer.start).await,
        Err(error) => Err(error),
    };
    let sink = match opened {
        Ok(sink) => sink,
        // Some browsers keep files for workers only.
        Err(error) if error.kind() == ErrorKind::Internal && answer.start == 0 => Sink::memory(),
        Err(error) => return Err(error),
    };
    let mut fetched = answer.pour(wanted, sink, hash).await?;
    if fetched.stored {
        description.size_bytes = answer.start;
        description.sha256 = fetched.sha256.clone();
        description.complete = true;
        place.describe(&description).await?;
        let gone = || Error::new(ErrorKind::Internal, "the stored model vanished; open it again");
        fetched.source = BlobSource::new(place.data().await.ok_or_else(gone)?);
    }
    Ok(fetched)
}

/// Takes a file all of which had come before its writing was broken off.
async fn complete(wanted: &Wanted<'_>, place: &Place, known: &Description, all: Blob) -> Result<Fetched> {
    let source = BlobSource::new(all);
    let mut tell = |done| {
        (wanted.on_progress)("verify", done, known.size_bytes);
        check_signal(wanted.signal)
    };
    let sha256 = source.sha256(&mut tell).await?;
    check_hash(&sha256, wanted.expected)?;
    place.describe(&Description { sha256: sha256.clone(), complete: true, ..known.clone() }).await?;
    Ok(Fetched { source, sha256, from_cache: true, stored: true })
}

/// A server's answer, of which `start` bytes are here.
struct Answer {
    reader: Option<ReadableStreamDefaultReader>,
    start: u64,
    total: u64,
    version: String,
}

impl Answer {
    /// Asks for the model from `from` on, or for all of it where the server has another version now.
    async fn request(wanted: &Wanted<'_>, from: u64, version: &str) -> Result<Self> {
        (wanted.on_progress)("download", from, 0);
        if from > 0 {
            let response = respond(wanted, from).await?;
            let answer = Self::read(wanted, &response, from)?;
            let same = version.is_empty() || answer.version.is_empty() || answer.version == version;
            if response.status() == 206 && same && answer.starts_at(&response, from) {
                return Ok(answer);
            }
            if response.ok() && response.status() != 206 {
                return Ok(answer);
            }
            answer.cancel();
        }
        let response = respond(wanted, 0).await?;
        Self::read(wanted, &response, 0)
    }

    /// Whether the answer begins at `from`, as far as the server lets us see.
    fn starts_at(&self, response: &Response, from: u64) -> bool {
        let range = header(&response.headers(), "content-range");
        range.is_none_or(|range| range.starts_with(&format!("bytes {from}-")))
    }

    fn read(wanted: &Wanted<'_>, response: &Response, from: u64) -> Result<Self> {
        let status = response.status();
        if !response.ok() && (from == 0 || status != 416) {
            let what = format!("the server answers {status} for the model at {}; check the address", wanted.url);
            return Err(Error::new(ErrorKind::ModelUnreachable, what));
        }
        let headers = response.headers();
        let start = if status == 206 { from } else { 0 };
        // The length of a packed answer says nothing about the file, and its version cannot be gone on with.
        let plain = header(&headers, "content-encoding").is_none_or(|encoding| encoding == "identity");
        let whole = header(&headers, "content-range").and_then(|range| range.split_once('/')?.1.parse().ok());
        let rest = header(&headers, "content-length").and_then(|length| length.parse().ok()).filter(|_| plain);
        let total = whole.or(rest.map(|rest: u64| start + rest)).unwrap_or(0);
        let version = header(&headers, "etag").or_else(|| header(&headers, "last-modified")).filter(|_| plain);
        let reader = response.body().and_then(|body| ReadableStreamDefaultReader::new(&body).ok());
        Ok(Self { reader, start, total, version: version.unwrap_or_default() })
    }

    fn description(&self, wanted: &Wanted<'_>) -> Description {
        let (url, version) = (wanted.url.to_owned(), self.version.clone());
        Description { url, size_bytes: self.total, sha256: String::new(), version, complete: false }
    }

    /// Refuses what this device cannot hold before any of it is read.
    fn check(&self, wanted: &Wanted<'_>) -> Result<()> {
        let checked = check_memory(self.total, wanted.most_bytes);
        if checked.is_err() {
            self.cancel();
        }
        checked
    }

    fn cancel(&self) {
        if let Some(reader) = &self.reader {
            // Nobody waits for it, so its refusal must not be heard either.
            let cancelled = reader.cancel();
            wasm_bindgen_futures::spawn_local(async move {
                let _ = settle(Ok(cancelled)).await;
            });
        }
    }

    /// Reads the answer into `sink`; `hash` has what is there already.
    async fn pour(&mut self, wanted: &Wanted<'_>, sink: Sink, mut hash: Sha256) -> Result<Fetched> {
        let stored = !matches!(sink, Sink::Memory(_));
        let poured = self.pour_pieces(wanted, &sink, &mut hash).await;
        if poured.is_err() {
            self.cancel();
        }
        // What has come is kept, whatever broke off.
        let closed = sink.close().await;
        poured?;
        let blob = closed?;
        if self.start < self.total {
            let what = format!("the model broke off after {} of {} bytes; open it again", self.start, self.total);
            return Err(Error::new(ErrorKind::ModelUnreachable, what));
        }
        let sha256 = hex(hash);
        check_hash(&sha256, wanted.expected)?;
        let source = BlobSource::new(match blob {
            Some(blob) => blob,
            None => Blob::new().map_err(|thrown| caught(ErrorKind::Internal, "no blob", &thrown))?,
        });
        Ok(Fetched { source, sha256, from_cache: false, stored })
    }

    /// Says how much fitted: what browsers tell of their free space is a guess.
    fn figures(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::StorageFull {
            return error;
        }
        full(&format!("{} of {} fitted", megabytes(self.start), megabytes(self.total))).with_source(error)
    }

    async fn pour_pieces(&mut self, wanted: &Wanted<'_>, sink: &Sink, hash: &mut Sha256) -> Result<()> {
        let Some(reader) = self.reader.clone() else { return Ok(()) };
        let mut told = self.start;
        let mut bytes = Vec::new();
        loop {
            check_signal(wanted.signal)?;
            let read =
                settle(Ok(reader.read())).await.map_err(|thrown| unreachable(wanted.url, wanted.signal, &thrown))?;
            if field(&read, "done").is_truthy() {
                break;
            }
            let piece: Uint8Array = field(&read, "value").unchecked_into();
            bytes.resize(piece.length() as usize, 0);
            piece.copy_to(&mut bytes);
            if self.start == 0 {
                check_magic(wanted, &bytes)?;
            }
            hash.update(&bytes);
            sink.append(self.start, &piece).await.map_err(|error| self.figures(error))?;
            self.start += bytes.len() as u64;
            if self.start - told >= TOLD_BYTES {
                told = self.start;
                (wanted.on_progress)("download", told, self.total);
            }
        }
        (wanted.on_progress)("download", self.start, self.total.max(self.start));
        Ok(())
    }
}

/// Refuses what is no GGUF file before gigabytes of it arrive.
fn check_magic(wanted: &Wanted<'_>, first: &[u8]) -> Result<()> {
    if first.len() < 4 || first.starts_with(b"GGUF") {
        return Ok(());
    }
    let what = format!("what {} gives is no GGUF file; check the address", wanted.url);
    Err(Error::new(ErrorKind::ModelCorrupt, what))
}

async fn respond(wanted: &Wanted<'_>, from: u64) -> Result<Response> {
    let range = (from > 0).then(|| format!("bytes={from}-"));
    request(wanted.url, "GET", range.as_deref(), wanted.signal).await
}

/// Asks a server for a model or, with `range`, for a part of it.
///
/// # Errors
/// `model-unreachable` where no answer comes, `cancelled`.
pub async fn request(url: &str, method: &str, range: Option<&str>, signal: Option<&AbortSignal>) -> Result<Response> {
    let init = RequestInit::new();
    init.set_method(method);
    // The store keeps the file; the browser's own cache need not keep it a second time.
    init.set_cache(RequestCache::NoStore);
    init.set_signal(signal);
    if let Some(range) = range {
        let headers = Headers::new().and_then(|headers| {
            headers.set("range", range)?;
            Ok(headers)
        });
        let headers: JsValue = headers.map_err(|thrown| caught(ErrorKind::Internal, "no headers", &thrown))?.into();
        init.set_headers(&headers);
    }
    let response = settle(js_fetch(url, &init)).await.map_err(|thrown| unreachable(url, signal, &thrown))?;
    Ok(response.unchecked_into())
}

/// The error of a network that failed, or `cancelled`.
pub fn unreachable(url: &str, signal: Option<&AbortSignal>, thrown: &JsValue) -> Error {
    if let Err(cancelled) = check_signal(signal) {
        return cancelled;
    }
    let what = if is_foreign(url) {
        // Browsers do not tell a page which of these it was.
        "the model at {} cannot be fetched: the network, that server's rules for other sites (CORS), or this page's \
         Content-Security-Policy (connect-src, which its owner sets) forbid it"
    } else {
        "the model at {} cannot be fetched"
    };
    web::caught(ErrorKind::ModelUnreachable, &what.replace("{}", url), thrown)
}

/// Whether `url` is of another origin than this page.
fn is_foreign(url: &str) -> bool {
    let here = field(&field(&js_sys::global(), "location"), "origin").as_string();
    Url::new(url).is_ok_and(|url| Some(url.origin()) != here)
}

/// A header that the server sent and lets us see.
pub fn header(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name).ok().flatten()
}
