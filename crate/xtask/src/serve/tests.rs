use std::io::Read;
use std::net::TcpStream;

use super::*;

struct Fixture {
    server: Option<Server>,
    dir: PathBuf,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("imprint-serve-{name}-{}", std::process::id()));
        let root = dir.join("site");
        fs::create_dir_all(root.join("assets")).unwrap();
        fs::write(dir.join("secret.txt"), "secret").unwrap();
        fs::write(root.join(".hidden"), "secret").unwrap();
        fs::write(root.join("index.html"), "<p>hello</p>".repeat(50)).unwrap();
        fs::write(root.join("assets/app-ABCDEF23.js"), "hello();".repeat(500)).unwrap();
        fs::write(root.join("digits.bin"), "0123456789").unwrap();
        std::os::unix::fs::symlink(dir.join("secret.txt"), root.join("link.txt")).unwrap();
        let site = Site::new(&root).file("/models/m.gguf", &dir.join("secret.txt"));
        let site = site.text("/models/index.json", "[]".to_owned());
        Self { server: Some(Server::start(site, 0).unwrap()), dir }
    }

    /// Sends one raw request, so that no client tidies the path; returns the status, the headers and the body.
    fn ask(&self, request: &str, headers: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.server.as_ref().unwrap().address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let end = reply.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(reply[..end].to_vec()).unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), reply[end + 4..].to_vec())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.server.take();
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

#[test]
fn ranges_follow_the_standard() {
    assert_eq!(parse_range("bytes=0-4", 10), Range::Part(0, 4));
    assert_eq!(parse_range("bytes=4-", 10), Range::Part(4, 9));
    assert_eq!(parse_range("bytes=-3", 10), Range::Part(7, 9));
    assert_eq!(parse_range("bytes=-30", 10), Range::Part(0, 9));
    assert_eq!(parse_range("bytes=8-99", 10), Range::Part(8, 9));
    assert_eq!(parse_range("bytes=10-", 10), Range::Outside);
    assert_eq!(parse_range("bytes=10-12", 10), Range::Outside);
    assert_eq!(parse_range("bytes=-0", 10), Range::Outside);
    assert_eq!(parse_range("bytes=0-0", 0), Range::Outside);
    assert_eq!(parse_range("bytes=-1", 0), Range::Outside);
    for ignored in ["bytes=5-2", "bytes=a-b", "bytes=0-1,4-5", "lines=0-1", "bytes=-", "bytes=+1-2", ""] {
        assert_eq!(parse_range(ignored, 10), Range::Whole, "{ignored}");
    }
    assert_eq!(parse_range("bytes=99999999999999999999-", 10), Range::Whole);
}

#[test]
fn nothing_outside_the_site_is_served() {
    let site = Fixture::new("outside");
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/../../secret.txt",
        "/assets/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/.hidden",
        "/link.txt",
        "/assets",
        "/none",
        "/digits.bin%00.html",
    ] {
        let (status, _, body) = site.ask(&format!("GET {path}"), "");
        assert_eq!(status, 404, "{path}");
        assert!(!body.windows(6).any(|six| six == b"secret") || path.contains("secret"), "{path}");
    }
    assert_eq!(site.ask("GET /%ff", "").0, 400);
    assert_eq!(site.ask("GET /%2", "").0, 400);
}

#[test]
fn types_and_caching_fit_the_file() {
    let site = Fixture::new("types");
    let (status, head, _) = site.ask("GET /?model=x", "");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html") && head.contains("cache-control: no-cache"), "{head}");
    let (_, head, _) = site.ask("GET /assets/app-ABCDEF23.js", "");
    assert!(head.contains("content-type: text/javascript") && head.contains("immutable"), "{head}");
    let (_, head, body) = site.ask("GET /models/m.gguf", "Accept-Encoding: br\r\n");
    assert!(head.contains("content-type: application/octet-stream") && !head.contains("content-encoding"), "{head}");
    assert_eq!(body, b"secret");
    let (_, head, body) = site.ask("GET /models/index.json", "");
    assert!(head.contains("content-type: application/json") && body == b"[]", "{head}");
    assert_eq!(kind_of("/a/b.wasm"), "application/wasm");
    assert_eq!(kind_of("/b.webmanifest"), "application/manifest+json");
    assert!(is_hashed("/assets/imprint_wasm_bg-7qKZ2abC.wasm") && is_hashed("/assets/main-ABCDEF23.js.map"));
    for changing in ["/index.html", "/sw.js", "/some-settings.js", "/assets/icon.svg", "/assets/-short.js"] {
        assert!(!is_hashed(changing), "{changing}");
    }
}

#[test]
fn ranges_are_served_unless_the_file_changed() {
    let site = Fixture::new("ranges");
    let (status, head, body) = site.ask("GET /digits.bin", "Range: bytes=2-4\r\nAccept-Encoding: br\r\n");
    assert_eq!((status, body.as_slice()), (206, &b"234"[..]));
    assert!(head.contains("content-range: bytes 2-4/10") && head.contains("content-length: 3"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let (status, ..) = site.ask("GET /digits.bin", &format!("Range: bytes=2-4\r\nIf-Range: {tag}\r\n"));
    assert_eq!(status, 206);
    let (status, _, body) = site.ask("GET /digits.bin", "Range: bytes=2-4\r\nIf-Range: \"other\"\r\n");
    assert_eq!((status, body.len()), (200, 10));
    let (status, head, _) = site.ask("GET /digits.bin", "Range: bytes=10-\r\n");
    assert_eq!(status, 416);
    assert!(head.contains("content-range: bytes */10"), "{head}");
    let (status, _, body) = site.ask("GET /digits.bin", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((status, body.len()), (304, 0));
}

#[test]
fn text_is_compressed_as_the_browser_likes() {
    let site = Fixture::new("compressed");
    let (_, head, body) = site.ask("GET /assets/app-ABCDEF23.js", "Accept-Encoding: gzip, deflate, br\r\n");
    assert!(head.contains("content-encoding: br"), "{head}");
    let mut text = String::new();
    brotli::Decompressor::new(body.as_slice(), 4096).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello();".repeat(500));
    let (_, head, body) = site.ask("GET /assets/app-ABCDEF23.js", "Accept-Encoding: gzip, br;q=0\r\n");
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello();".repeat(500));
    let (_, head, body) = site.ask("GET /assets/app-ABCDEF23.js", "");
    assert!(!head.contains("content-encoding") && body.len() == 4000, "{head}");
}

#[test]
fn head_has_no_body_and_other_methods_are_refused() {
    let site = Fixture::new("methods");
    let (status, head, body) = site.ask("HEAD /digits.bin", "");
    assert_eq!((status, body.len()), (200, 0));
    assert!(head.contains("content-length: 10"), "{head}");
    let (status, head, _) = site.ask("POST /digits.bin", "Content-Length: 0\r\n");
    assert_eq!(status, 405);
    assert!(head.contains("allow: get, head"), "{head}");
}

#[test]
fn many_ask_at_once_and_a_stopped_server_is_gone() {
    let mut site = Fixture::new("many");
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(site.ask("GET /digits.bin", "").2, b"0123456789"));
        }
    });
    let address = site.server.as_ref().unwrap().address;
    site.server.take().unwrap().stop();
    // The library's own accepting thread lets go of the port a moment after it was told to.
    let gone = || TcpListener::bind(address).is_ok() || TcpStream::connect(address).is_err();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !gone() {
        assert!(std::time::Instant::now() < deadline, "{address} still answers ten seconds after the stop");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
