//! A keep-alive HTTP/1.1 connection that blocks: as little work as a request can be, because the load generator shares
//! its processors with what it measures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A response that takes longer than this is an error.
const RESPONSE_LIMIT: Duration = Duration::from_secs(30);

/// One connection. A failed request leaves it unusable.
pub struct Connection {
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
    body: Vec<u8>,
}

impl Connection {
    /// Connects, at once or not at all.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RESPONSE_LIMIT))?;
        Ok(Self {
            stream: BufReader::with_capacity(4096, stream),
            line: Vec::new(),
            body: Vec::new(),
        })
    }

    /// Sends a whole request, head and body, and gives back the status. The response's body is read and kept in
    /// [`Self::body`].
    pub fn send(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.get_mut().write_all(request)?;
        self.read_line()?;
        let status = parse_status(&self.line)?;
        let mut length = 0;
        let mut chunked = false;
        loop {
            self.read_line()?;
            if self.line.is_empty() {
                break;
            }
            if let Some(value) = header(&self.line, "content-length") {
                length = value.parse().with_context(|| format!("content-length is {value:?}"))?;
            } else if let Some(value) = header(&self.line, "transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            }
        }
        self.body.clear();
        if chunked {
            self.read_chunks()?
        } else {
            self.read_body(length)?
        }
        Ok(status)
    }

    /// Sends a whole request that is to be answered with this status.
    pub fn expect(&mut self, request: &[u8], expected: u16) -> Result<()> {
        let status = self.send(request)?;
        if status != expected {
            let request = String::from_utf8_lossy(request);
            let line = request.lines().next().unwrap_or_default();
            bail!("{line} was answered with {status}, not {expected}: {}", self.body());
        }
        Ok(())
    }

    /// The last response's body, as text for a message.
    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn read_chunks(&mut self) -> Result<()> {
        loop {
            self.read_line()?;
            let text = String::from_utf8_lossy(&self.line).into_owned();
            let size = text.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).with_context(|| format!("a chunk's size is {text:?}"))?;
            self.read_body(size)?;
            self.read_line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn read_body(&mut self, length: u64) -> Result<()> {
        let read = self.stream.by_ref().take(length).read_to_end(&mut self.body)?;
        if (read as u64) < length {
            bail!("the connection was closed within a response");
        }
        Ok(())
    }

    /// Reads a line without its end.
    fn read_line(&mut self) -> Result<()> {
        self.line.clear();
        if self.stream.read_until(b'\n', &mut self.line)? == 0 {
            bail!("the connection was closed");
        }
        while self.line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            self.line.pop();
        }
        Ok(())
    }
}

fn parse_status(line: &[u8]) -> Result<u16> {
    let text = String::from_utf8_lossy(line);
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("{text:?} is no status line"))
}

/// The value of a header line when it has this name.
fn header<'a>(line: &'a [u8], name: &str) -> Option<&'a str> {
    let line = std::str::from_utf8(line).ok()?;
    let (found, value) = line.split_once(':')?;
    found.eq_ignore_ascii_case(name).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers the first request with `response`, then closes.
    fn exchange(response: &'static [u8]) -> Result<(u16, String)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the client connects");
            let mut request = [0; 4];
            stream.read_exact(&mut request).expect("the client sends its request");
            stream.write_all(response).expect("the client reads");
        });
        let mut connection = Connection::open(address)?;
        let status = connection.send(b"GET ");
        server.join().expect("the server ends");
        Ok((status?, connection.body()))
    }

    #[test]
    fn both_ways_to_say_where_a_body_ends_are_read() {
        let plain = exchange(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!(plain, (201, "ok".to_owned()));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n";
        assert_eq!(exchange(chunked).unwrap(), (200, "abc".to_owned()));
    }

    #[test]
    fn a_response_that_is_cut_short_or_no_http_is_an_error() {
        let responses: [&[u8]; 4] = [
            b"",
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ];
        for response in responses {
            assert!(exchange(response).is_err(), "{:?}", String::from_utf8_lossy(response));
        }
    }
}
