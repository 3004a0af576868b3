//! An HTTP client for the real process. It keeps its connections, as a client in production does.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// How long an answer may take before the test gives up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one process.
#[derive(Clone)]
pub struct HttpClient {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl HttpClient {
    /// A client that speaks HTTP/1.1 with the application at `url`.
    pub fn new(url: &str) -> Self {
        Self::build(url, false)
    }

    /// A client that speaks HTTP/2 without asking first.
    pub fn http2(url: &str) -> Self {
        Self::build(url, true)
    }

    fn build(url: &str, http2: bool) -> Self {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        Self {
            url: url.to_owned(),
            client,
        }
    }

    /// Sends a request; the answer's body is read as JSON.
    pub async fn send(&self, method: Method, path: &str, body: String) -> anyhow::Result<(StatusCode, Value)> {
        let (status, _, body) = self.exchange(method, path, body).await?;
        Ok((status, body))
    }

    /// Sends a request, and gives the answer's status, content type, and body as JSON.
    async fn exchange(&self, method: Method, path: &str, body: String) -> anyhow::Result<(StatusCode, String, Value)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let exchange = async {
            let answer = self.client.request(request).await?;
            let status = answer.status();
            let content_type = answer.headers().get(header::CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
            let content_type = content_type.to_owned();
            let body = answer.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, content_type, serde_json::from_slice(&body).unwrap_or_default()))
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .with_context(|| format!("no answer within {TIMEOUT:?}"))?
    }

    /// `GET path`, which must succeed.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, answer) = self.send(Method::GET, path, String::new()).await?;
        anyhow::ensure!(status == StatusCode::OK, "GET {path}: {status} {answer}");
        Ok(answer)
    }

    /// Creates a todo and says its id. `None`: it was refused.
    pub async fn create(&self, title: &str, user: &str) -> anyhow::Result<Option<String>> {
        let body = json!({ "title": title, "userId": user }).to_string();
        let (status, todo) = self.send(Method::POST, "/todos", body).await?;
        let id = todo["id"].as_str().map(str::to_owned);
        Ok(id.filter(|_| status == StatusCode::CREATED))
    }

    /// Creates a todo and says its id, or the status with which a problem refused it.
    ///
    /// # Errors
    /// Where there is no answer, or the refusal is no problem with a detail.
    pub async fn create_or_refusal(&self, title: &str, user: &str) -> anyhow::Result<Result<String, StatusCode>> {
        let body = json!({ "title": title, "userId": user }).to_string();
        let (status, content_type, answer) = self.exchange(Method::POST, "/todos", body).await?;
        if status == StatusCode::CREATED {
            let id = answer["id"].as_str().context("a todo has an id")?;
            return Ok(Ok(id.to_owned()));
        }
        anyhow::ensure!(
            content_type == "application/problem+json" && answer["detail"].is_string(),
            "{status} isn't told as a problem: {content_type} {answer}"
        );
        Ok(Err(status))
    }

    /// Everything on someone's list, page by page.
    pub async fn all(&self, list: &str, user: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut page = format!("/{list}?userId={user}&limit=100");
        loop {
            let mut answer = self.get(&page).await?;
            items.extend(answer[list].as_array_mut().map(std::mem::take).unwrap_or_default());
            let next = match &answer["next"] {
                Value::Null => return Ok(items),
                Value::String(id) => id.clone(),
                number => number.to_string(),
            };
            page = format!("/{list}?userId={user}&limit=100&after={next}");
        }
    }
}
