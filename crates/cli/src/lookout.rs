//! What the demo and the benches ask and write directly: an API server as its user, an operator on
//! its own address.

use anyhow::{Context, Result, ensure};
use hansa_operator::{ApiRequest, ContentType, Method};
use hansa_runner::api_server::call;
use kube::Client;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One write that has to succeed.
pub async fn write(
    client: &Client,
    method: Method,
    path: &str,
    content_type: ContentType,
    body: &Value,
) -> Result<Value> {
    let answer =
        call(client, &ApiRequest::write(method, path, content_type, body)).await.map_err(anyhow::Error::msg)?;
    ensure!(answer.status < 300, "{path}: {}", String::from_utf8_lossy(&answer.body));
    Ok(serde_json::from_slice(&answer.body)?)
}

/// Asks an operator on a port of this machine.
pub async fn ask(port: u16, path: &str) -> Result<Value> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an HTTP answer has a body")?;
    Ok(serde_json::from_str(body)?)
}
