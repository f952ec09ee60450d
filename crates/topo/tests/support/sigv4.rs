//! AWS Signature Version 4, as far as a guard before an S3 server needs it.

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::http::request::Parts;
use ring::{digest, hmac};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A part of the header `Authorization`, like `SignedHeaders`.
fn part(parts: &Parts, name: &str) -> String {
    let line = parts.headers[AUTHORIZATION].to_str().unwrap();
    let (_, rest) = line.split_once(&format!("{name}=")).unwrap();
    rest.split(',').next().unwrap().to_owned()
}

fn signature(parts: &Parts, signed: &str, secret: &str) -> String {
    let header = |name: &str| parts.headers[name].to_str().unwrap().trim().to_owned();
    let mut query: Vec<&str> =
        parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let query: Vec<String> =
        query.iter().map(|pair| if pair.contains('=') { (*pair).to_owned() } else { format!("{pair}=") }).collect();
    let headers: String = signed.split(';').map(|name| format!("{name}:{}\n", header(name))).collect();
    let (path, query, payload) = (parts.uri.path(), query.join("&"), header("x-amz-content-sha256"));
    let canonical = format!("{}\n{path}\n{query}\n{headers}\n{signed}\n{payload}", parts.method);
    let credential = part(parts, "Credential");
    let (_, scope) = credential.split_once('/').unwrap();
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", header("x-amz-date"));
    let sign =
        |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec();
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, word| sign(&key, word));
    hex(&sign(&key, &text))
}

/// Whether a request is signed by this secret, with its session token.
pub fn is_signed(parts: &Parts, secret: &str) -> bool {
    let signed = part(parts, "SignedHeaders");
    signed.split(';').any(|name| name == "x-amz-security-token")
        && signature(parts, &signed, secret) == part(parts, "Signature")
}

/// Signs a request anew, without a session token.
pub fn sign(parts: &mut Parts, secret: &str) {
    let signed = part(parts, "SignedHeaders");
    let signed = signed.split(';').filter(|name| *name != "x-amz-security-token").collect::<Vec<_>>().join(";");
    let (credential, signature) = (part(parts, "Credential"), signature(parts, &signed, secret));
    let line = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}");
    parts.headers.insert(AUTHORIZATION, HeaderValue::try_from(line).unwrap());
}
