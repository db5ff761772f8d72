//! A small web server for this machine only: types, ranges, compression and caching as a good static host does them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use tiny_http::{Header, Method, Request, Response, ResponseBox};

/// Each thread serves one request; a browser opens six connections a page.
const THREADS: usize = 16;
/// Larger files are sent as they are.
const MAX_COMPRESSED_BYTES: u64 = 64 << 20;

/// What is served.
#[derive(Clone)]
pub struct Site {
    root: PathBuf,
    extra: HashMap<String, PathBuf>,
    pages: HashMap<String, String>,
}

impl Site {
    /// Serves the files below `root`; `/` is its `index.html`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), extra: HashMap::new(), pages: HashMap::new() }
    }

    /// Serves a file from elsewhere under `path`, which begins with `/`.
    pub fn file(mut self, path: &str, file: &Path) -> Self {
        self.extra.insert(path.to_owned(), file.to_owned());
        self
    }

    /// Serves a text under `path`, which begins with `/`.
    pub fn text(mut self, path: &str, text: String) -> Self {
        self.pages.insert(path.to_owned(), text);
        self
    }

    /// Finds the file for the path of a request; `None` when there is none or it lies outside the site.
    fn find(&self, path: &str) -> Option<PathBuf> {
        if let Some(file) = self.extra.get(path) {
            return Some(file.clone());
        }
        let relative = Path::new(path.strip_prefix('/')?);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || path.contains(['\0', '\\']) || path.split('/').any(|part| part.starts_with('.')) {
            return None;
        }
        let file = self.root.join(relative);
        let file = if file.is_dir() && path.ends_with('/') { file.join("index.html") } else { file };
        // A link that leads out of the site is no part of it.
        let real = fs::canonicalize(&file).ok()?;
        (real.is_file() && real.starts_with(fs::canonicalize(&self.root).ok()?)).then_some(real)
    }
}

/// A running server, which stops when dropped.
pub struct Server {
    http: Arc<tiny_http::Server>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts to serve `site` on this machine's own address; port 0 takes any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(site: Site, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            format!("cannot serve on port {port}; choose another with --port, or any with --port 0")
        })?;
        let address = listener.local_addr()?;
        let http =
            tiny_http::Server::from_listener(listener, None).map_err(|e| anyhow::anyhow!("cannot serve: {e}"))?;
        let http = Arc::new(http);
        let shared = Arc::new(Shared { site, compressed: Mutex::default() });
        let threads = (0..THREADS).map(|_| {
            let (http, shared) = (http.clone(), shared.clone());
            std::thread::spawn(move || {
                while let Ok(request) = http.recv() {
                    shared.answer(request);
                }
            })
        });
        let threads = threads.collect();
        Ok(Self { http, address, threads })
    }

    /// The address of the site, with a slash at the end.
    ///
    /// It says `localhost`, which browsers treat as a secure place: WebGPU and storage need one.
    pub fn url(&self) -> String {
        format!("http://localhost:{}/", self.address.port())
    }

    /// Serves until the process is ended.
    pub fn wait(mut self) {
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on the terminal; the others go on serving.
            let _ = thread.join();
        }
    }

    /// Stops serving, after the answers under way are sent; the port is free a moment later.
    pub fn stop(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        // Each call wakes one thread.
        for _ in &self.threads {
            self.http.unblock();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What was compressed already: by file, encoding and entity tag.
type Compressed = HashMap<(PathBuf, Encoding, String), Arc<[u8]>>;

struct Shared {
    site: Site,
    compressed: Mutex<Compressed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Encoding {
    Brotli,
    Gzip,
}

impl Shared {
    fn answer(&self, request: Request) {
        let response =
            self.response(&request).unwrap_or_else(|cause| plain(500, &format!("cannot read it: {cause:#}")));
        // A browser that goes away in the middle is no failure.
        let _ = request.respond(response);
    }

    fn response(&self, request: &Request) -> Result<ResponseBox> {
        if !matches!(request.method(), Method::Get | Method::Head) {
            return Ok(plain(405, "this server answers GET and HEAD only").with_header(header("Allow", "GET, HEAD")));
        }
        let path = request.url().split(['?', '#']).next().unwrap_or_default();
        let Some(path) = decode(path) else { return Ok(plain(400, "the address is not valid UTF-8")) };
        if let Some(text) = self.site.pages.get(&path) {
            let response = sized(200, Cursor::new(text.clone().into_bytes()), text.len());
            let response = response.with_header(header("Content-Type", kind_of(&path)));
            return Ok(response.with_header(header("Cache-Control", "no-cache")));
        }
        match self.site.find(&path) {
            Some(file) => self.file(request, &path, &file),
            None => Ok(plain(404, &format!("there is no {path} here"))),
        }
    }

    fn file(&self, request: &Request, path: &str, file: &Path) -> Result<ResponseBox> {
        let meta = fs::metadata(file)?;
        let modified = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut tag = format!("\"{:x}-{:x}\"", modified.as_nanos(), meta.len());
        let kind = kind_of(path);
        let asked = value(request, "Range").filter(|_| value(request, "If-Range").is_none_or(|known| known == tag));
        let encoding = match asked {
            None if compressible(kind) && meta.len() <= MAX_COMPRESSED_BYTES => {
                choose(value(request, "Accept-Encoding"))
            }
            _ => None,
        };
        if let Some(encoding) = encoding {
            tag.insert_str(tag.len() - 1, encoding.name());
        }
        let headers = |response: ResponseBox| {
            let cache = if is_hashed(path) { "public, max-age=31536000, immutable" } else { "no-cache" };
            response
                .with_header(header("Content-Type", kind))
                .with_header(header("Cache-Control", cache))
                .with_header(header("ETag", &tag))
                .with_header(header("Accept-Ranges", "bytes"))
                .with_header(header("Vary", "Accept-Encoding"))
                .with_header(header("X-Content-Type-Options", "nosniff"))
        };
        if value(request, "If-None-Match").is_some_and(|known| known.split(',').any(|one| one.trim() == tag)) {
            return Ok(headers(sized(304, std::io::empty(), 0)));
        }
        if let Some(encoding) = encoding {
            let bytes = self.compress(file, encoding, &tag)?;
            let length = bytes.len();
            let response = headers(sized(200, Cursor::new(bytes), length));
            return Ok(response.with_header(header("Content-Encoding", encoding.name())));
        }
        match asked.map_or(Range::Whole, |text| parse_range(text, meta.len())) {
            Range::Whole => Ok(headers(sized(200, File::open(file)?, meta.len() as usize))),
            Range::Part(start, end) => {
                let mut open = File::open(file)?;
                open.seek(SeekFrom::Start(start))?;
                let length = end - start + 1;
                let response = headers(sized(206, open.take(length), length as usize));
                let range = format!("bytes {start}-{end}/{}", meta.len());
                Ok(response.with_header(header("Content-Range", &range)))
            }
            Range::Outside => {
                let response = plain(416, &format!("the file has {} bytes, the range begins behind them", meta.len()));
                Ok(response.with_header(header("Content-Range", &format!("bytes */{}", meta.len()))))
            }
        }
    }

    /// Compresses a file once, at a fast level: across one machine that is the quickest way.
    fn compress(&self, file: &Path, encoding: Encoding, tag: &str) -> Result<Arc<[u8]>> {
        let key = (file.to_owned(), encoding, tag.to_owned());
        if let Some(bytes) = self.lock().get(&key) {
            return Ok(bytes.clone());
        }
        let whole = fs::read(file)?;
        let bytes: Arc<[u8]> = match encoding {
            Encoding::Brotli => brotli_bytes(&whole, 5)?.into(),
            Encoding::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(5));
                writer.write_all(&whole)?;
                writer.finish()?.into()
            }
        };
        self.lock().insert(key, bytes.clone());
        Ok(bytes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Compressed> {
        // The map is whole at every moment, even if a thread died holding it.
        self.compressed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// Compresses with Brotli; quality 11 is the smallest and slowest.
pub fn brotli_bytes(bytes: &[u8], quality: u32) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut out, 1 << 16, quality, 22);
    writer.write_all(bytes)?;
    drop(writer);
    Ok(out)
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).unwrap_or_else(|()| panic!("`{name}: {value}` is no valid header: our bug"))
}

fn value<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    request.headers().iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
}

/// An answer with its length stated; without it the server would send pieces, and a browser could show no progress.
fn sized(status: u16, body: impl Read + Send + 'static, length: usize) -> ResponseBox {
    Response::new(status.into(), Vec::new(), body, Some(length), None).with_chunked_threshold(usize::MAX).boxed()
}

fn plain(status: u16, sentence: &str) -> ResponseBox {
    let body = format!("{sentence}\n").into_bytes();
    let length = body.len();
    sized(status, Cursor::new(body), length).with_header(header("Content-Type", "text/plain; charset=utf-8"))
}

/// Replaces `%20` and the like; `None` when the result is no UTF-8 or a `%` has no two digits.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = tail.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit))?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The media type for the path of a request, by its ending; a directory stands for its page.
fn kind_of(path: &str) -> &'static str {
    let name = if path.ends_with('/') { "index.html" } else { path };
    match Path::new(name).extension().and_then(|end| end.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "webm" => "video/webm",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" | "ts" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn compressible(kind: &str) -> bool {
    kind.starts_with("text/") || kind.ends_with("json") || matches!(kind, "application/wasm" | "image/svg+xml")
}

/// Picks the better of the encodings that the browser takes; `q=0` refuses one.
fn choose(accepted: Option<&str>) -> Option<Encoding> {
    let takes = |name: &str| {
        accepted.unwrap_or_default().split(',').any(|one| {
            let mut parts = one.split(';').map(str::trim);
            let named = parts.next().is_some_and(|part| part.eq_ignore_ascii_case(name));
            let refused = parts.filter_map(|part| part.strip_prefix("q=")).any(|q| q.parse() == Ok(0.0));
            named && !refused
        })
    };
    [Encoding::Brotli, Encoding::Gzip].into_iter().find(|encoding| takes(encoding.name()))
}

/// Says whether a name holds a hash of its content (`assets/app-3F2A91BC.js`), so that the file never changes.
fn is_hashed(path: &str) -> bool {
    let name = path.strip_prefix("/assets/").unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let last = stem.rsplit_once('-').map(|(_, last)| last);
    last.is_some_and(|hash| hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// The first and the last byte.
    Part(u64, u64),
    Outside,
}

/// Reads the header `Range: bytes=…` for a file of `size` bytes (RFC 9110, §14).
///
/// A header that is malformed or asks for several ranges is ignored, as the standard allows.
fn parse_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Whole;
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(0) => Range::Outside,
            Some(_) if size == 0 => Range::Outside,
            Some(count) => Range::Part(size.saturating_sub(count), size - 1),
            None => Range::Whole,
        },
        (first, "") => match number(first) {
            Some(first) if first < size => Range::Part(first, size - 1),
            Some(_) => Range::Outside,
            None => Range::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first > last => Range::Whole,
            (Some(first), Some(_)) if first >= size => Range::Outside,
            (Some(first), Some(last)) => Range::Part(first, last.min(size - 1)),
            _ => Range::Whole,
        },
    }
}

#[cfg(test)]
mod tests;
