//! As much of a browser as a test of pages needs: requests with exactly the headers that the test wants, and what came back.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::machine::Trouble;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// A header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// The value of the first hidden field of this name.
    pub fn hidden(&self, name: &str) -> String {
        let start = format!("type=\"hidden\" name=\"{name}\" value=\"");
        let after = self.body.split_once(&start).map_or("", |(_, after)| after);
        after.split('"').next().unwrap_or_default().to_owned()
    }
}

/// A browser that knows one page's host, and keeps one cookie.
#[derive(Debug, Clone)]
pub struct Browser {
    /// Where it connects: `127.0.0.1:8788`.
    pub address: String,
    /// What it sends as its cookies; empty: nothing.
    pub cookies: String,
}

impl Browser {
    /// One without cookies.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.into(),
            cookies: String::new(),
        }
    }

    /// Asks for a page.
    pub fn get(&self, path: &str) -> Result<Answer, Trouble> {
        self.send("GET", path, &[("Host", &self.address)], "")
    }

    /// Sends a form as a page of the panel does.
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, Trouble> {
        let origin = format!("http://{}", self.address);
        let headers = [("Host", self.address.as_str()), ("Origin", &origin)];
        self.send("POST", path, &headers, &encoded(fields))
    }

    /// Sends a request with these headers, its cookies, and what a form has.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, Trouble> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !self.cookies.is_empty() {
            let _ = write!(head, "Cookie: {}\r\n", self.cookies);
        }
        if method != "GET" {
            let _ = write!(
                head,
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                body.len()
            );
        }
        let failed = |error: std::io::Error| Trouble::caused(format!("{method} {path}"), error);
        let mut stream = TcpStream::connect(&self.address).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream
            .write_all(format!("{head}\r\n").as_bytes())
            .map_err(failed)?;
        // A server that refuses a body closes before it has read it all.
        let _ = stream.write_all(body.as_bytes());
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        if bytes.is_empty() {
            read.map_err(failed)?;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let broken = || Trouble::new(format!("{method} {path}: no answer of HTTP: {text:?}"));
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .ok_or_else(broken)?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Ok(Answer {
            status,
            headers,
            body: body.to_owned(),
        })
    }
}

/// Fields as forms are sent.
pub fn encoded(fields: &[(&str, &str)]) -> String {
    let text = |text: &str| {
        let mut out = String::new();
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    };
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", text(name), text(value)))
        .collect();
    fields.join("&")
}
