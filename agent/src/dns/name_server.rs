//! Asking a zone's primary server, over TCP, within a deadline: each question and each answer is signed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, TSigVerifier, TSigner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::error::DnsError;
use super::key::Key;
use super::message::{self, Asked};
use crate::fleet::names::DnsServer;
use crate::system::clock;

/// How long one question may take, connecting included.
const DEADLINE: Duration = Duration::from_secs(5);
/// So often a removal is tried anew where others change the same name: ten boxes that leave at once let each other through.
const TRIES: u32 = 25;
/// The longest pause between two tries. Each box has another one each time.
const PAUSE_MS: u64 = 200;

/// The primary server of a zone, and the key that it knows this box by.
pub struct NameServer {
    server: DnsServer,
    zone: Name,
    key: String,
    signer: TSigner,
}

/// What leaving a name came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// They were taken away.
    Gone,
    /// None of them was there.
    Absent,
    /// They are the last ones of the name: they stay.
    Last,
}

impl NameServer {
    /// For the names of `zone`. Nothing is asked yet.
    pub fn new(server: DnsServer, zone: &str, key: &Key) -> Result<Self, String> {
        Ok(Self {
            server,
            zone: message::name(zone)?,
            key: key.name.clone(),
            signer: message::signer(key)?,
        })
    }

    /// The addresses of a name, of both types. Empty where there is no such name.
    pub async fn addresses(&self, of: &str) -> Result<BTreeSet<IpAddr>, DnsError> {
        Ok(self.records(of).await?.into_keys().collect())
    }

    /// The same, each with how long others may remember it, in seconds.
    async fn records(&self, of: &str) -> Result<BTreeMap<IpAddr, u32>, DnsError> {
        let name = self.name(of)?;
        let mut all = BTreeMap::new();
        for kind in message::TYPES {
            let answer = self.ask(message::question(&name, kind), of).await?;
            if !answer.metadata.authoritative {
                return Err(DnsError::NotItsZone {
                    server: self.server.to_string(),
                    zone: self.zone.to_string(),
                });
            }
            all.extend(message::addresses(&answer, &name));
        }
        Ok(all)
    }

    /// Sees to it that a name has these addresses too, with that time to live. Returns whether one was missing.
    pub async fn join(
        &self,
        name: &str,
        addresses: &BTreeSet<IpAddr>,
        ttl: u32,
    ) -> Result<bool, DnsError> {
        let standing = self.records(name).await?;
        let is_other = |address: &&IpAddr| standing.get(*address) != Some(&ttl);
        let other: BTreeSet<IpAddr> = addresses.iter().filter(is_other).copied().collect();
        if other.is_empty() {
            return Ok(false);
        }
        let at = self.name(name)?;
        self.ask(message::addition(&self.zone, &at, &other, ttl), name)
            .await?;
        // A server takes an address beside a CNAME without a word, and forgets it.
        if self.addresses(name).await?.is_superset(&other) {
            return Ok(other.iter().any(|address| !standing.contains_key(address)));
        }
        Err(DnsError::NotKept {
            server: self.server.to_string(),
            name: name.to_owned(),
        })
    }

    /// Takes these addresses away from a name, unless no other would be left.
    ///
    /// That others are left is what the update requires of the server: it is carried out only where just those stand that were
    /// seen before. Where somebody else was faster, it is tried anew.
    pub async fn leave(&self, name: &str, gone: &BTreeSet<IpAddr>) -> Result<Left, DnsError> {
        let at = self.name(name)?;
        for _ in 0..TRIES {
            let standing = self.addresses(name).await?;
            let mine: BTreeSet<IpAddr> = standing.intersection(gone).copied().collect();
            if mine.is_empty() {
                return Ok(Left::Absent);
            }
            if mine == standing {
                return Ok(Left::Last);
            }
            let update = message::removal(&self.zone, &at, &mine, &standing);
            match self.ask(update, name).await {
                Ok(_) => return Ok(Left::Gone),
                Err(DnsError::Changed { .. }) => {
                    sleep(Duration::from_millis(fastrand::u64(1..=PAUSE_MS))).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(DnsError::Changed {
            name: name.to_owned(),
        })
    }

    fn name(&self, text: &str) -> Result<Name, DnsError> {
        message::name(text).map_err(|what| self.foreign(what))
    }

    fn foreign(&self, what: impl Into<String>) -> DnsError {
        DnsError::Foreign {
            server: self.server.to_string(),
            what: what.into(),
        }
    }

    /// Asks, and returns an answer that says yes and is signed. That there is no such name is a yes to a question.
    async fn ask(&self, mut message: Message, name: &str) -> Result<Message, DnsError> {
        let at = u64::try_from(clock::now().as_second()).unwrap_or_default();
        let signed = message
            .finalize(&self.signer, at)
            .and_then(|verifier| Ok((message.to_vec()?, verifier)));
        let (bytes, verifier) = signed.map_err(|error| self.foreign(error.to_string()))?;
        let answer = exchange(&self.server, &bytes).await?;
        self.read(&answer, message.metadata.id, verifier, (name, at))
    }

    fn read(
        &self,
        bytes: &[u8],
        id: u16,
        verifier: Option<TSigVerifier>,
        (name, at): (&str, u64),
    ) -> Result<Message, DnsError> {
        let answer = Message::from_vec(bytes).map_err(|error| self.foreign(error.to_string()))?;
        if answer.metadata.id != id {
            return Err(self.foreign("it answers to another question"));
        }
        let asked = Asked {
            server: self.server.as_str(),
            key: &self.key,
            zone: &self.zone.to_string(),
            name,
            at,
        };
        let no_such_name = answer.metadata.response_code == ResponseCode::NXDomain;
        match message::verdict(&answer, &asked) {
            Err(DnsError::Failed { .. }) if no_such_name => {}
            verdict => verdict?,
        }
        let is_signed = verifier.is_some_and(|mut verifier| verifier.verify(bytes).is_ok());
        if is_signed {
            return Ok(answer);
        }
        Err(DnsError::Unsigned {
            server: self.server.to_string(),
            key: self.key.clone(),
        })
    }
}

/// Asks anybody, without a key, what the addresses of a name are, of both types, each with how long others may remember it, in seconds.
/// Nothing says that the answer is the asked one's.
pub async fn look_up(server: &DnsServer, of: &str) -> Result<BTreeMap<IpAddr, u32>, DnsError> {
    let foreign = |what: String| DnsError::Foreign {
        server: server.to_string(),
        what,
    };
    let name = message::name(of).map_err(foreign)?;
    let mut all = BTreeMap::new();
    for kind in message::TYPES {
        let mut question = message::question(&name, kind);
        // A resolver is to go and ask; who knows himself does not mind.
        question.metadata.recursion_desired = true;
        let bytes = question
            .to_vec()
            .map_err(|error| foreign(error.to_string()))?;
        let answer = exchange(server, &bytes).await?;
        let answer = Message::from_vec(&answer).map_err(|error| foreign(error.to_string()))?;
        let code = answer.metadata.response_code;
        if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
            return Err(DnsError::Failed {
                server: server.to_string(),
                code: code.to_string(),
                name: of.to_owned(),
            });
        }
        all.extend(message::addresses(&answer, &name));
    }
    Ok(all)
}

/// One question and its answer over TCP, within the deadline.
async fn exchange(server: &DnsServer, message: &[u8]) -> Result<Vec<u8>, DnsError> {
    match timeout(DEADLINE, exchange_at_leisure(server, message)).await {
        Ok(answer) => answer.map_err(|source| DnsError::Unreachable {
            server: server.to_string(),
            source,
        }),
        Err(_) => Err(DnsError::Silent {
            server: server.to_string(),
            secs: DEADLINE.as_secs(),
        }),
    }
}

async fn exchange_at_leisure(server: &DnsServer, message: &[u8]) -> io::Result<Vec<u8>> {
    let (host, port) = server.host_and_port();
    let mut stream = TcpStream::connect((host, port)).await?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
