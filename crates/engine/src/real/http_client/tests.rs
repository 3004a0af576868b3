//! The HTTP client against servers of a few lines: what works, and each error that a component can be told.

use bytes::Bytes;
use http::Request;
use http_body_util::{Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const SHORT: Duration = Duration::from_millis(50);

fn to(uri: &str) -> OutboundRequest {
    OutboundRequest {
        request: Request::get(uri)
            .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
            .unwrap(),
        connect_timeout: Some(Duration::from_secs(5)),
        first_byte_timeout: Some(Duration::from_secs(5)),
        between_bytes_timeout: Some(Duration::from_secs(5)),
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/path", listener.local_addr().unwrap());
    (listener, uri)
}

/// Reads a request's head and, after it, `body` bytes.
async fn read_request(stream: &mut TcpStream, body: usize) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if head_end.is_some_and(|end| bytes.len() >= end + 4 + body) {
            return String::from_utf8(bytes).unwrap();
        }
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "the client went away");
        bytes.extend_from_slice(&chunk[..count]);
    }
}

#[tokio::test]
async fn requests_share_a_connection_and_survive_its_end() {
    let (listener, uri) = listen().await;
    let server = tokio::spawn(async move {
        for requests_on_connection in [2, 1] {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..requests_on_connection {
                let request = read_request(&mut stream, 5).await;
                assert!(request.starts_with("POST /path HTTP/1.1\r\n"), "{request}");
                assert!(
                    request.contains("host: 127.0.0.1:") && request.ends_with("hello"),
                    "{request}"
                );
                stream
                    .write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok")
                    .await
                    .unwrap();
            }
        }
    });
    let client = HttpClient::default();
    for _ in 0..3 {
        let mut outbound = to(&uri);
        *outbound.request.method_mut() = http::Method::POST;
        let body = Full::new(Bytes::from_static(b"hello")).map_err(|never| match never {});
        *outbound.request.body_mut() = body.boxed_unsync();
        let response = client.send(outbound).await.unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    server.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_apart() {
    let (listener, uri) = listen().await;
    drop(listener);
    let client = HttpClient::default();
    let refused = client.send(to(&uri)).await.unwrap_err();
    assert!(matches!(refused, Error::ConnectionRefused), "{refused:?}");
    let unknown = client.send(to("http://nowhere.invalid/")).await.unwrap_err();
    assert!(
        matches!(unknown, Error::DnsError { .. } | Error::DnsTimeout),
        "{unknown:?}"
    );
    let relative = client.send(to("/path")).await.unwrap_err();
    assert!(matches!(relative, Error::HttpRequestUriInvalid), "{relative:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let (listener, uri) = listen().await;
    let mut outbound = to(&uri);
    outbound.first_byte_timeout = Some(SHORT);
    let error = HttpClient::default().send(outbound).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
    drop(listener);
}

#[tokio::test]
async fn a_server_that_never_greets_by_tls_is_given_up() {
    let (listener, uri) = listen().await;
    let mut outbound = to(&uri.replace("http://", "https://"));
    outbound.connect_timeout = Some(SHORT);
    let error = HttpClient::default().send(outbound).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionTimeout), "{error:?}");
    drop(listener);
}

#[tokio::test]
async fn a_server_without_tls_is_no_https_server() {
    let (listener, uri) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Until the client hangs up.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let error = HttpClient::default()
        .send(to(&uri.replace("http://", "https://")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TlsProtocolError), "{error:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_up_or_talks_nonsense_is_told() {
    for (answer, terminated) in [("", true), ("HTTP/1.1 200", true), ("nonsense\r\n\r\n", false)] {
        let (listener, uri) = listen().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream, 0).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let error = HttpClient::default().send(to(&uri)).await.unwrap_err();
        assert_eq!(
            matches!(error, Error::ConnectionTerminated),
            terminated,
            "{answer:?}: {error:?}"
        );
        assert_eq!(
            matches!(error, Error::HttpProtocolError),
            !terminated,
            "{answer:?}: {error:?}"
        );
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_body_that_pauses_or_breaks_off_is_an_error() {
    for (hangs_up, limit) in [(false, SHORT), (true, Duration::from_secs(5))] {
        let (listener, uri) = listen().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream, 0).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!")
                .await
                .unwrap();
            if !hangs_up {
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let mut outbound = to(&uri);
        outbound.between_bytes_timeout = Some(limit);
        let mut body = HttpClient::default().send(outbound).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "five!");
        let error = body.frame().await.unwrap().unwrap_err();
        if hangs_up {
            assert!(matches!(error, Error::ConnectionTerminated), "{error:?}");
        } else {
            assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
        }
        drop(body);
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_body_that_its_component_breaks_off_says_so() {
    let (listener, uri) = listen().await;
    let mut outbound = to(&uri);
    *outbound.request.method_mut() = http::Method::POST;
    let frames = futures_body(vec![
        Ok(Bytes::from_static(b"part")),
        Err(Error::HttpRequestBodySize(Some(7))),
    ]);
    *outbound.request.body_mut() = frames;
    let error = HttpClient::default().send(outbound).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestBodySize(Some(7))), "{error:?}");
    drop(listener);
}

fn futures_body(frames: Vec<Result<Bytes, Error>>) -> Body {
    struct Frames(std::vec::IntoIter<Result<Bytes, Error>>);
    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
            Poll::Ready(self.0.next().map(|frame| frame.map(Frame::data)))
        }
    }
    Frames(frames.into_iter()).boxed_unsync()
}
