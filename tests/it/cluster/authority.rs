//! A certificate authority of the test's own, and a certificate of it for `localhost` and `127.0.0.1`.

use std::path::Path;
use std::process::{Command, Stdio};

/// What `openssl req` is told of both certificates; clients are strict about these extensions.
const REQUEST: &str = "
[req]
distinguished_name = name
prompt = no
[name]
CN = burdock test
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
";

/// Writes `authority.pem`, `server.pem` and `server.key` into `folder`.
pub(crate) fn make(folder: &Path) {
    std::fs::write(folder.join("request"), REQUEST).unwrap();
    openssl(folder, "-extensions authority -subj /CN=authority -keyout authority.key -out authority.pem");
    let signed = "-CA authority.pem -CAkey authority.key";
    openssl(folder, &format!("-extensions server {signed} -keyout server.key -out server.pem"));
}

fn openssl(folder: &Path, arguments: &str) {
    let common = "req -x509 -config request -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2";
    let output = Command::new("openssl")
        .args(common.split(' ').chain(arguments.split(' ')))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
