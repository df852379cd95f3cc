//! A ServiceAccount's token in a file, as the kubelet projects it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use tokio::io::AsyncReadExt;

/// The most that is read (as in KEDA); a token has some 1 KiB.
const LIMIT: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Reads a token. A manifest names the file and the server that it is sent to, so nothing but a ServiceAccount's token may leave
/// the operator this way.
///
/// # Errors
/// Where there is no such file, or something else in it. The message holds nothing of it.
pub async fn read(path: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("the file {path:?}: {error}");
    let is_file = tokio::fs::metadata(path).await.map_err(failed)?.is_file();
    if !is_file {
        return Err(format!("{path:?} is no file"));
    }
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(failed)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    match is_service_accounts(text.trim()) {
        true => Ok(text.trim().to_owned()),
        false => Err(format!(
            "the file {path:?} holds no token of a ServiceAccount"
        )),
    }
}

fn is_service_accounts(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let [_, payload, _] = parts[..] else {
        return false;
    };
    let Ok(payload) = BASE64_URL_SAFE_NO_PAD.decode(payload) else {
        return false;
    };
    serde_json::from_slice::<Claims>(&payload)
        .is_ok_and(|claims| claims.sub.starts_with("system:serviceaccount:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[tokio::test]
    async fn only_a_service_accounts_token_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let good = token(r#"{"sub": "system:serviceaccount:keda:keda-operator"}"#);
        std::fs::write(&path, format!("{good}\n")).unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(read(path).await, Ok(good.clone()));
        for bad in [
            "hunter2",
            "root:x:0:0:root:/root:/bin/bash",
            "",
            "a.b.c",
            &token(r#"{"sub": "admin"}"#),
            &token("{}"),
            &format!("{good}.x"),
        ] {
            std::fs::write(path, bad).unwrap();
            let problem = read(path).await.unwrap_err();
            assert!(problem.contains("holds no token"), "{problem}");
            assert!(bad.is_empty() || !problem.contains(bad), "{problem}");
        }
        assert!(read("/nowhere/token").await.is_err());
        assert!(read("/").await.unwrap_err().contains("no file"));
    }
}
