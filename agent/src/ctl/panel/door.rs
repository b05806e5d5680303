//! Who may come in: a link that works once, a session afterwards; only by this panel's own address, and with forms of its own pages.
//!
//! Loopback is no boundary: every page in the browser can send requests to it, a name that a stranger owns can lead to it, and other
//! accounts of this machine can connect.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::system::digest::sha256;
use crate::system::random;

/// A session that nobody used for so long has ended.
const IDLE: Duration = Duration::from_hours(12);
/// The most sessions; the one that was used longest ago makes room.
const MOST: usize = 8;

/// The door of one panel.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    /// Of the link that was not used yet.
    token: Option<String>,
    /// What sessions are known by, and when each was used last.
    sessions: Vec<(String, Instant)>,
}

impl Door {
    /// A door that one link opens once.
    pub fn new(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            address,
            inside: Mutex::new(Inside {
                token: Some(secret()?),
                sessions: Vec::new(),
            }),
        })
    }

    /// The link that opens it; `None`: it was used.
    pub fn link(&self) -> Option<String> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let token = inside.token.as_ref()?;
        Some(format!("http://{}/enter?token={token}", self.address))
    }

    /// Makes a new link, where the last one was used. Whether it did.
    pub fn renew(&self) -> io::Result<bool> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.token.is_some() {
            return Ok(false);
        }
        inside.token = Some(secret()?);
        Ok(true)
    }

    /// Uses the link up: a new session, if it is the right one.
    pub fn enter(&self, token: &str, now: Instant) -> io::Result<Option<String>> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if !inside
            .token
            .as_deref()
            .is_some_and(|right| same(right, token))
        {
            return Ok(None);
        }
        inside.token = None;
        let session = secret()?;
        if inside.sessions.len() >= MOST {
            let oldest = (0..inside.sessions.len())
                .min_by_key(|index| inside.sessions.get(*index).map(|(_, used)| *used));
            oldest.map(|index| inside.sessions.swap_remove(index));
        }
        inside.sessions.push((session.clone(), now));
        Ok(Some(session))
    }

    /// Whether the cookies of a request have a session that goes on.
    pub fn is_in(&self, cookies: &str, now: Instant) -> bool {
        let name = self.cookie();
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside
            .sessions
            .retain(|(_, used)| now.saturating_duration_since(*used) < IDLE);
        cookies
            .split(';')
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .any(|(_, value)| {
                let session = (inside.sessions.iter_mut()).find(|(one, _)| same(one, value));
                session.map(|(_, used)| *used = now).is_some()
            })
    }

    /// The cookie that a session is kept in. Cookies are shared by all ports of a host: each panel has one of its own.
    pub fn cookie(&self) -> String {
        format!("agentctl-panel-{}", self.address.port())
    }

    /// Whether a request names this panel as its host: a name of somebody else's that leads here does not.
    pub fn is_host(&self, host: &str) -> bool {
        let port = self.address.port();
        host == self.address.to_string() || host == format!("localhost:{port}")
    }

    /// Whether a form was sent by a page of this very host.
    pub fn is_origin(&self, origin: Option<&str>, host: &str) -> bool {
        self.is_host(host) && origin == Some(format!("http://{host}").as_str())
    }
}

/// 32 random bytes as text.
fn secret() -> io::Result<String> {
    Ok(format!(
        "{}{}",
        hex::encode(random::bytes()?),
        hex::encode(random::bytes()?)
    ))
}

/// Whether two secrets are the same, without saying by the time it takes how far they agree.
fn same(one: &str, other: &str) -> bool {
    sha256(one.as_bytes()) == sha256(other.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door::new("127.0.0.1:8788".parse().unwrap()).unwrap()
    }

    fn token(door: &Door) -> String {
        let link = door.link().unwrap();
        link.split_once("token=").unwrap().1.to_owned()
    }

    #[test]
    fn a_link_opens_once() {
        let door = door();
        let now = Instant::now();
        let first = token(&door);
        assert_eq!(door.enter("", now).unwrap(), None);
        assert_eq!(door.enter(first.get(..63).unwrap(), now).unwrap(), None);
        assert!(!door.renew().unwrap(), "a wrong try does not use it up");
        let session = door.enter(&first, now).unwrap().unwrap();
        assert_eq!(door.enter(&first, now).unwrap(), None);
        assert_eq!(door.link(), None);
        assert!(door.renew().unwrap());
        assert_ne!(token(&door), first);
        let cookie = format!("a=b; {}={session}", door.cookie());
        assert!(door.is_in(&cookie, now + IDLE / 2));
        assert!(door.is_in(&cookie, now + IDLE));
        assert!(!door.is_in(&cookie, now + IDLE * 3));
        assert!(
            !door.is_in(&cookie, now),
            "what has ended does not come back"
        );
    }

    #[test]
    fn a_session_is_known_by_its_whole_secret_in_its_own_cookie() {
        let door = door();
        let now = Instant::now();
        let session = door.enter(&token(&door), now).unwrap().unwrap();
        let name = door.cookie();
        assert!(!door.is_in("", now));
        assert!(!door.is_in(&session, now));
        assert!(!door.is_in(&format!("other={session}"), now));
        assert!(!door.is_in(&format!("{name}={}", session.get(1..).unwrap()), now));
        assert!(door.is_in(&format!("{name}=x; {name}={session}"), now));
    }

    #[test]
    fn who_comes_by_another_name_or_from_another_page_stays_out() {
        let door = door();
        for (host, is) in [
            ("127.0.0.1:8788", true),
            ("localhost:8788", true),
            ("127.0.0.1", false),
            ("127.0.0.1:8789", false),
            ("rebound.example:8788", false),
            ("localhost:8788.example", false),
            ("", false),
        ] {
            assert_eq!(door.is_host(host), is, "{host}");
        }
        let host = "localhost:8788";
        assert!(door.is_origin(Some("http://localhost:8788"), host));
        for origin in [
            None,
            Some("null"),
            Some("http://localhost:8789"),
            Some("https://localhost:8788"),
            Some("http://127.0.0.1:8788"),
            Some("http://evil.example"),
        ] {
            assert!(!door.is_origin(origin, host), "{origin:?}");
        }
        assert!(!door.is_origin(Some("http://evil.example"), "evil.example"));
    }

    #[test]
    fn sessions_are_few() {
        let door = door();
        let now = Instant::now();
        let mut sessions = Vec::new();
        for index in 0..=MOST {
            let later = now + Duration::from_secs(index as u64);
            sessions.push(door.enter(&token(&door), later).unwrap().unwrap());
            door.renew().unwrap();
        }
        let is_in = |session: &str| door.is_in(&format!("{}={session}", door.cookie()), now);
        assert!(!is_in(&sessions[0]) && is_in(&sessions[1]) && is_in(&sessions[MOST]));
    }
}
