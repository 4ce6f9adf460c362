// SPDX-License-Identifier: MIT OR Apache-2.0
//! A development CA and a server's certificate, by the openssl program: no TLS library is linked
//! into a tool for its sake.

use std::path::Path;
use std::process::Command;

use super::process::output;

const CURVE: [&str; 6] =
    ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"];
/// The CA and what it signs are good for so many days; both are made anew when the folder goes.
const DAYS: &str = "825";
const SERVER: &str = "\
basicConstraints=critical,CA:FALSE
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,IP:127.0.0.1
";

/// Makes `ca.pem`, `server.pem` and `server.key` in `folder`, unless they are there.
pub(super) fn make(folder: &Path) -> Result<(), String> {
    if folder.join("server.pem").exists() {
        return Ok(());
    }
    let openssl = |args: &[&str]| {
        // What it writes is its owner's alone.
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077; exec openssl \"$@\"", "openssl"]);
        output(command.args(args).current_dir(folder))
    };
    let authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=chancery development CA"];
    let may = ["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-days", DAYS];
    openssl(&[&["req", "-x509"], &CURVE[..], &authority, &may].concat())?;
    let request = ["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"];
    openssl(&[&["req"], &CURVE[..], &request].concat())?;
    super::private_file(&folder.join("server.ext"), SERVER)?;
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"];
    let into = ["-CAcreateserial", "-days", DAYS, "-sha256", "-extfile", "server.ext"];
    openssl(&[&sign[..], &into, &["-out", "server.pem"]].concat()).map(drop)
}
