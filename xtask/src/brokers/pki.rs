// SPDX-License-Identifier: MIT OR Apache-2.0
//! A development CA, a server's certificate and one for each service, by the openssl program: no
//! TLS library is linked into a tool for its sake. And what must be refused: a certificate whose
//! time is over, and one that another CA has signed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::place::{lock, secret};
use super::process::output;
use super::{private_file, private_folder};

const KEY: [&str; 6] =
    ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"];
/// The CA and what it signs are good for so many days; both are made anew when the folder goes.
const DAYS: &str = "825";
const LEAF: &str = "\
basicConstraints=critical,CA:FALSE
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
keyUsage=critical,digitalSignature
";
/// `openssl ca` alone can say when a certificate begins and ends; this is all that it asks for.
const AUTHORITY: &str = "\
[ca]
default_ca=it
[it]
database=index.txt
new_certs_dir=.
policy=any
rand_serial=yes
[any]
commonName=supplied
";

/// Makes, unless they are there: `ca.pem`; `server.{pem,key}` for localhost; `expired.{pem,key}`,
/// orders' certificate of another year; `unknown.{pem,key}`, one in orders' name by a CA that
/// nobody trusts, `unknown-ca.pem`.
pub(super) fn make(folder: &Path) -> Result<(), String> {
    let _held = lock(&folder.join("lock"), || Ok(()))?;
    if folder.join("whole").exists() {
        return Ok(());
    }
    authority(folder, "ca", "chancery development CA")?;
    let local = "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n";
    leaf(folder, "ca", "server", "localhost", local)?;
    authority(folder, "unknown-ca", "a CA that nobody trusts")?;
    leaf(folder, "unknown-ca", "unknown", "orders", &may_call("orders"))?;
    expired(folder)?;
    private_file(&folder.join("whole"), "")
}

/// A certificate of a service, `clients/SERVICE.{pem,key}`, its name in the subject and as DNS and
/// SPIFFE names beside it; the same in `SERVICE.p12`.
pub(super) fn client(folder: &Path, service: &str) -> Result<(), String> {
    private_folder(&folder.join("clients"))?;
    let _held = lock(&folder.join("lock"), || Ok(()))?;
    let name = format!("clients/{service}");
    let bundle = folder.join(format!("{name}.p12"));
    if bundle.exists() {
        return Ok(());
    }
    leaf(folder, "ca", &name, service, &may_call(service))?;
    secret(&folder.join(format!("{name}.p12.password")))?;
    let [pem, key, password] =
        [format!("{name}.pem"), format!("{name}.key"), format!("file:{name}.p12.password")];
    let export = ["pkcs12", "-export", "-in", &pem, "-inkey", &key, "-certfile", "ca.pem"];
    let partial = format!("{name}.p12.new");
    let to = ["-name", service, "-passout", &password, "-out", &partial];
    openssl(folder, &[&export[..], &to].concat())?;
    fs::rename(folder.join(&partial), &bundle).map_err(|e| format!("{}: {e}", bundle.display()))
}

/// A certificate of a server whose peers are of its own kind: it is called, and it calls.
pub(super) fn peer(folder: &Path, name: &str) -> Result<(), String> {
    let _held = lock(&folder.join("lock"), || Ok(()))?;
    if folder.join(format!("{name}.pem")).exists() {
        return Ok(());
    }
    let may = "extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n";
    leaf(folder, "ca", name, name, may)
}

/// A certificate and its key in `TO.p12`, under the password in `TO.p12.password`.
pub(super) fn bundle(folder: &Path, name: &str, to: &Path) -> Result<(), String> {
    let to = to.display();
    let [pem, key, password, bundle] = [
        format!("{name}.pem"),
        format!("{name}.key"),
        format!("file:{to}.p12.password"),
        format!("{to}.p12"),
    ];
    let export = ["pkcs12", "-export", "-in", &pem, "-inkey", &key, "-certfile", "ca.pem"];
    openssl(
        folder,
        &[&export[..], &["-name", name, "-passout", &password, "-out", &bundle]].concat(),
    )
}

fn may_call(service: &str) -> String {
    format!(
        "extendedKeyUsage=clientAuth\n\
         subjectAltName=DNS:{service},URI:spiffe://chancery.test/{service}\n"
    )
}

fn authority(folder: &Path, name: &str, subject: &str) -> Result<(), String> {
    let (key, cert, subject) =
        (format!("{name}.key"), format!("{name}.pem"), format!("/CN={subject}"));
    let made = ["-keyout", &key, "-out", &cert, "-subj", &subject, "-days", DAYS];
    let may = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    openssl(folder, &[&["req", "-x509"], &KEY[..], &made, &may].concat())
}

fn leaf(folder: &Path, by: &str, name: &str, subject: &str, may: &str) -> Result<(), String> {
    request(folder, name, subject, may)?;
    let [csr, pem, ext] = ["csr", "pem", "ext"].map(|ending| format!("{name}.{ending}"));
    let [ca, ca_key] = ["pem", "key"].map(|ending| format!("{by}.{ending}"));
    let sign = ["x509", "-req", "-in", &csr, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
    let into = ["-days", DAYS, "-sha256", "-extfile", &ext, "-out", &pem];
    openssl(folder, &[&sign[..], &into].concat())
}

fn request(folder: &Path, name: &str, subject: &str, may: &str) -> Result<(), String> {
    let [key, csr, ext] = ["key", "csr", "ext"].map(|ending| format!("{name}.{ending}"));
    let subject = format!("/CN={subject}");
    let made = ["-keyout", &key, "-out", &csr, "-subj", &subject];
    openssl(folder, &[&["req"], &KEY[..], &made].concat())?;
    private_file(&folder.join(ext), &format!("{LEAF}{may}"))
}

fn expired(folder: &Path) -> Result<(), String> {
    request(folder, "expired", "orders", &may_call("orders"))?;
    private_file(&folder.join("expired.cnf"), AUTHORITY)?;
    private_file(&folder.join("index.txt"), "")?;
    let sign = ["ca", "-batch", "-notext", "-config", "expired.cnf", "-md", "sha256"];
    let by = ["-cert", "ca.pem", "-keyfile", "ca.key", "-extfile", "expired.ext"];
    let when = ["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"];
    let into = ["-in", "expired.csr", "-out", "expired.pem"];
    openssl(folder, &[&sign[..], &by, &when, &into].concat())
}

fn openssl(folder: &Path, args: &[&str]) -> Result<(), String> {
    // What it writes is its owner's alone.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec openssl \"$@\"", "openssl"]);
    output(command.args(args).current_dir(folder)).map(drop)
}
