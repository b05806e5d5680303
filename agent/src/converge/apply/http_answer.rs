//! One request of HTTP over a connection that is there, and what is answered until it closes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The most headers of an answer; one with more is none.
const MOST_HEADERS: usize = 128;

/// An answer, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::converge) struct HttpAnswer {
    pub status: u16,
    /// As they were sent, values without white space at their ends.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// Sends a request and reads at most `limit` bytes. `None`: that is no answer of HTTP. Has no deadline of its own.
    pub(in crate::converge) async fn to(
        request: &str,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        limit: usize,
    ) -> io::Result<Option<Self>> {
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        match stream.take(limit).read_to_end(&mut bytes).await {
            // Some servers close a connection over TLS without a word.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(Self::parse(&bytes)),
        }
    }

    /// Takes an answer apart. `None`: it is none, or its headers do not end.
    pub(in crate::converge) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(end)) = head.parse(bytes) else {
            return None;
        };
        let headers = head.headers.iter().map(|header| {
            let value = String::from_utf8_lossy(header.value);
            (header.name.to_owned(), value.trim().to_owned())
        });
        Some(Self {
            status: head.code?,
            headers: headers.collect(),
            body: bytes.get(end..)?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = HttpAnswer::parse(b"HTTP/1.1 200 OK\r\nServer: x \r\n\r\nshop/www\n").unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, b"shop/www\n".as_slice())
        );
        assert_eq!(answer.headers, [("Server".to_owned(), "x".to_owned())]);
        let bare = HttpAnswer::parse(b"HTTP/1.1 403\r\n\r\n").unwrap();
        assert_eq!((bare.status, bare.body.len()), (403, 0));
        for none in ["SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nServer: x\r\n", ""] {
            assert_eq!(HttpAnswer::parse(none.as_bytes()), None, "{none:?}");
        }
    }
}
