//! What KEDA's operator leaves in the Secret: an authority and a leaf with RSA keys in PKCS#1, made by OpenSSL here.

use std::process::Command;

use anyhow::{Context, Result, ensure};

pub struct Left {
    pub authority: String,
    pub authority_key: String,
    pub certificate: String,
    pub key: String,
}

/// KEDA's authority and leaf, both still good for years.
pub fn left() -> Result<Left> {
    let dir = tempfile::tempdir()?;
    let openssl = |arguments: &str| -> Result<()> {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(dir.path())
            .output()
            .context("openssl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl {arguments}: {said}");
        Ok(())
    };
    let names: Vec<String> = [
        "keda-operator",
        "keda-operator-metrics-apiserver",
        "keda-admission-webhooks",
    ]
    .iter()
    .flat_map(|service| {
        ["", ".keda", ".keda.svc", ".keda.svc.cluster.local"]
            .map(|rest| format!("DNS:{service}{rest}"))
    })
    .collect();
    let extensions = format!(
        "subjectAltName={}\nkeyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n",
        names.join(",")
    );
    std::fs::write(dir.path().join("leaf.ext"), extensions)?;
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.pk8 -out ca.crt -days 3650 -set_serial 0 -subj /CN=KEDA/O=KEDAORG -addext subjectAltName=DNS:KEDA -addext keyUsage=critical,keyCertSign,digitalSignature,keyEncipherment",
    )?;
    openssl(
        "req -new -newkey rsa:2048 -nodes -keyout tls.pk8 -out tls.csr -subj /CN=keda-operator",
    )?;
    openssl(
        "x509 -req -in tls.csr -CA ca.crt -CAkey ca.pk8 -set_serial 1 -out tls.crt -days 3650 -extfile leaf.ext",
    )?;
    openssl("rsa -traditional -in ca.pk8 -out ca.key")?;
    openssl("rsa -traditional -in tls.pk8 -out tls.key")?;
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name));
    let left = Left {
        authority: read("ca.crt")?,
        authority_key: read("ca.key")?,
        certificate: read("tls.crt")?,
        key: read("tls.key")?,
    };
    ensure!(
        left.authority_key
            .starts_with("-----BEGIN RSA PRIVATE KEY-----")
    );
    Ok(left)
}
