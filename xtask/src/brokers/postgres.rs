// SPDX-License-Identifier: MIT OR Apache-2.0
//! PostgreSQL as Debian packages it, in a cluster of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::place::{Fixture, Place, Up, secret};
use super::process::output;
use super::{SERVICES, install, private_file};

/// Debian has one folder for each major version.
const PROGRAMS: &str = "/usr/lib/postgresql";
const HARDENED: [&str; 4] = [
    include_str!("postgres/postgresql.conf"),
    include_str!("postgres/pg_hba.conf"),
    include_str!("postgres/cluster.sql"),
    include_str!("postgres/shop.sql"),
];
const AS_FOUND: [&str; 4] = [
    include_str!("postgres/as-found.conf"),
    include_str!("postgres/as-found-hba.conf"),
    include_str!("postgres/as-found-cluster.sql"),
    include_str!("postgres/as-found-shop.sql"),
];

pub(super) fn up(place: &Place) -> Result<Up, String> {
    if programs().is_none() {
        let common = Path::new("/usr/bin/pg_ctlcluster");
        install::apt(place, common, "Debian's PostgreSQL, 60 MB", &["postgresql"])?;
    }
    let programs = programs().ok_or_else(|| format!("no server below {PROGRAMS}"))?;
    let port = place.port("sql")?;
    let [settings, access, cluster, shop] = match place.fixture {
        Fixture::Hardened => HARDENED,
        Fixture::AsFound => AS_FOUND,
    };
    let port_text = port.to_string();
    let settings = place.configure("postgresql.conf", settings, &[("port", &port_text)])?;
    place.configure("pg_hba.conf", access, &[])?;
    let mut passwords = vec![];
    if place.fixture == Fixture::Hardened {
        for service in SERVICES {
            passwords.push((service, client(place, service, port)?));
        }
    }
    let passwords: Vec<(&str, &str)> = passwords.iter().map(|(name, it)| (*name, &**it)).collect();
    let data = place.home.join("data");
    if !data.exists() {
        let partial = place.home.join("data.new");
        let _ = fs::remove_dir_all(&partial);
        let partial = place.folder("data.new")?;
        initialize(&programs, &partial)?;
        for (database, file, template) in
            [("postgres", "cluster.sql", cluster), ("shop", "shop.sql", shop)]
        {
            let script = place.configure(file, template, &passwords)?;
            let ran = run_alone(&programs, &partial, database, &script);
            fs::remove_file(&script).map_err(|e| format!("{}: {e}", script.display()))?;
            ran?;
        }
        fs::rename(&partial, &data).map_err(|error| format!("{}: {error}", data.display()))?;
    }
    let mut server = as_postgres(&programs.join("postgres"))?;
    server.arg("-D").arg(&data).arg("-c").arg(format!("config_file={}", settings.display()));
    // Its polite signal waits until the last client has gone.
    private_file(&place.folder("processes/server")?.join("stop"), "-INT")?;
    let answers = || {
        let mut ask = Command::new(programs.join("pg_isready"));
        let ask = ask.args(["-q", "-h", "127.0.0.1", "-p", &port_text]);
        ask.status().is_ok_and(|status| status.success())
    };
    place.start(&server, answers)?;
    let version = output(Command::new(programs.join("postgres")).arg("--version"))?;
    let version = version.split_whitespace().nth(2).unwrap_or("unknown");
    Ok(Up::new(version, &[("sql", format!("postgresql://localhost:{port}/shop"))]))
}

/// The programs of the newest server that is installed.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(PROGRAMS).ok()?.flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    folders.filter(|folder| folder.join("postgres").exists()).max()
}

/// A program that must not be root's; of root's powers it keeps the one to go through folders that
/// are root's alone.
fn as_postgres(program: &Path) -> Result<Command, String> {
    let ourselves = fs::metadata("/proc/self").map_err(|error| format!("/proc/self: {error}"))?;
    if ourselves.uid() != 0 {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.args(["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]);
    command.arg("--bounding-set=-all,+dac_override").arg(program);
    Ok(command)
}

fn initialize(programs: &Path, data: &Path) -> Result<(), String> {
    let mut initdb = as_postgres(&programs.join("initdb"))?;
    if initdb.get_program() == "setpriv" {
        output(Command::new("chown").arg("postgres:postgres").arg(data))?;
    }
    initdb.args(["--username=admin", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=reject"]);
    output(initdb.args(["--data-checksums", "--no-sync", "-D"]).arg(data)).map(drop)
}

/// Runs statements, one a line, in a server that nobody can reach: no password of anybody is
/// needed, or has to be sent.
fn run_alone(programs: &Path, data: &Path, database: &str, script: &Path) -> Result<(), String> {
    let statements = fs::File::open(script).map_err(|e| format!("{}: {e}", script.display()))?;
    let mut alone = as_postgres(&programs.join("postgres"))?;
    alone.args(["--single", "-c", "exit_on_error=on", "-D"]).arg(data).arg(database);
    let ran = alone.stdin(statements).stdout(Stdio::null()).output();
    let ran = ran.map_err(|error| format!("postgres: {error}"))?;
    // It goes on after an error, and says so at the start of a line.
    let told = String::from_utf8_lossy(&ran.stderr);
    match told.lines().find(|line| line.contains("ERROR:") || line.contains("FATAL:")) {
        None if ran.status.success() => Ok(()),
        wrong => Err(format!("{database}: {}", wrong.unwrap_or("it failed"))),
    }
}

/// What a service has in hand: certificate and key, its password as `pgpass`, and a connection
/// service file that names them: `PGSERVICEFILE=… psql service=shop`. Gives the password.
fn client(place: &Place, service: &str, port: u16) -> Result<String, String> {
    let folder = place.client_certificate(service)?;
    let password = secret(&folder.join("password"))?;
    let pgpass = format!("localhost:{port}:*:{service}:{password}\n");
    private_file(&folder.join("pgpass"), &pgpass)?;
    let at = folder.display();
    let text = format!(
        "[shop]\nhost=localhost\nport={port}\ndbname=shop\nuser={service}\nsslmode=verify-full\n\
         sslrootcert={at}/ca.pem\nsslcert={at}/client.pem\nsslkey={at}/client.key\n\
         passfile={at}/pgpass\n"
    );
    private_file(&folder.join("pg_service.conf"), &text)?;
    Ok(password)
}
