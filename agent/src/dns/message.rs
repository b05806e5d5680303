//! Messages to name servers and their answers: what is asked, as DNS writes it, and what an answer means. No input or output.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode, UpdateMessage as _};
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};

use super::error::DnsError;
use super::key::Key;

/// How far the clocks of both sides may be apart, in seconds.
const FUDGE_SECS: u16 = 300;

/// The types of addresses.
pub(super) const TYPES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// What signs messages with a key.
pub(super) fn signer(key: &Key) -> Result<TSigner, String> {
    let algorithm = match key.algorithm.as_str() {
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        _ => TsigAlgorithm::HmacSha256,
    };
    let name = name(&key.name)?;
    TSigner::new(key.secret().to_vec(), algorithm, name, FUDGE_SECS).map_err(|e| e.to_string())
}

/// A name as DNS has it.
pub(super) fn name(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    Ok(name)
}

/// A question for the records of one type at a name.
pub(super) fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name.clone(), kind));
    message
}

/// An update of a zone that changes nothing yet.
fn update(zone: &Name) -> Message {
    let mut message = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Update);
    let mut of = Query::query(zone.clone(), RecordType::SOA);
    of.set_query_class(DNSClass::IN);
    message.add_zone(of);
    message
}

/// An update that adds addresses at a name. One that is there already gets the time to live that is said here.
pub(super) fn addition(
    zone: &Name,
    name: &Name,
    addresses: &BTreeSet<IpAddr>,
    ttl: u32,
) -> Message {
    let mut message = update(zone);
    for address in addresses {
        message.add_update(Record::from_rdata(name.clone(), ttl, data(*address)));
    }
    message
}

/// An update that takes `gone` away from a name, if just `standing` stand there in the moment in which it is carried out, with
/// both types of addresses looked at.
pub(super) fn removal(
    zone: &Name,
    name: &Name,
    gone: &BTreeSet<IpAddr>,
    standing: &BTreeSet<IpAddr>,
) -> Message {
    let mut message = update(zone);
    for kind in TYPES {
        let mut of_type = standing
            .iter()
            .filter(|one| kind_of(**one) == kind)
            .peekable();
        if of_type.peek().is_none() {
            // There is no record of this type.
            let mut none = Record::update0(name.clone(), 0, kind);
            none.dns_class = DNSClass::NONE;
            message.add_pre_requisite(none);
        }
        for address in of_type {
            // There are these, and no others.
            message.add_pre_requisite(Record::from_rdata(name.clone(), 0, data(*address)));
        }
    }
    for address in gone {
        let mut removed = Record::from_rdata(name.clone(), 0, data(*address));
        removed.dns_class = DNSClass::NONE;
        message.add_update(removed);
    }
    message
}

/// The addresses that an answer has for a name, each with how long others may remember it, in seconds.
pub(super) fn addresses(answer: &Message, of: &Name) -> BTreeMap<IpAddr, u32> {
    let records = answer.answers.iter().filter(|record| record.name == *of);
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some((IpAddr::from(address.0), record.ttl)),
        RData::AAAA(address) => Some((IpAddr::from(address.0), record.ttl)),
        _ => None,
    };
    records.filter_map(address).collect()
}

/// Who was asked with what, for the words of errors.
pub(super) struct Asked<'a> {
    pub(super) server: &'a str,
    pub(super) key: &'a str,
    pub(super) zone: &'a str,
    pub(super) name: &'a str,
    /// When, in seconds since 1970.
    pub(super) at: u64,
}

/// What an answer means, whoever signed it. `Ok`: it says yes, which counts only if it is signed.
pub(super) fn verdict(answer: &Message, asked: &Asked<'_>) -> Result<(), DnsError> {
    let server = asked.server.to_owned();
    let key = asked.key.to_owned();
    // Why a signature is refused stands beside it, and the code is the same for all of that.
    let signature = answer.signature().map(|record| &record.data);
    match signature.and_then(|signature| Some((signature.error?, signature))) {
        Some((TsigError::BadTime, signature)) => {
            let theirs = signature
                .other
                .iter()
                .fold(0u64, |time, byte| time << 8 | u64::from(*byte));
            return Err(DnsError::Clock {
                server,
                off: asked.at.abs_diff(theirs),
                direction: if asked.at > theirs {
                    "ahead of"
                } else {
                    "behind"
                },
            });
        }
        Some((TsigError::BadKey, _)) => return Err(DnsError::UnknownKey { server, key }),
        Some((TsigError::BadSig | TsigError::BadTrunc, _)) => {
            return Err(DnsError::WrongKey { server, key });
        }
        _ => {}
    }
    let name = asked.name.to_owned();
    match answer.metadata.response_code {
        ResponseCode::NoError => Ok(()),
        ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::YXDomain => {
            Err(DnsError::Changed { name })
        }
        ResponseCode::Refused => Err(DnsError::Refused { server, key, name }),
        ResponseCode::NotAuth | ResponseCode::NotZone => Err(DnsError::NotItsZone {
            server,
            zone: asked.zone.to_owned(),
        }),
        code => Err(DnsError::Failed {
            server,
            code: code.to_string(),
            name,
        }),
    }
}

fn kind_of(address: IpAddr) -> RecordType {
    match address {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::AAAA,
    }
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|one| one.parse().unwrap()).collect()
    }

    #[test]
    fn a_removal_requires_what_stood_there_of_both_types() {
        let (zone, at) = (
            name("example.com").unwrap(),
            name("www.example.com").unwrap(),
        );
        let standing = set(&["198.51.100.11", "198.51.100.12"]);
        let message = removal(&zone, &at, &set(&["198.51.100.11"]), &standing);
        let said: Vec<(DNSClass, RecordType)> = message
            .prerequisites()
            .iter()
            .map(|record| (record.dns_class, record.record_type()))
            .collect();
        assert_eq!(
            said,
            [
                (DNSClass::IN, RecordType::A),
                (DNSClass::IN, RecordType::A),
                (DNSClass::NONE, RecordType::AAAA)
            ]
        );
        let [gone] = message.updates() else { panic!() };
        assert_eq!((gone.dns_class, gone.ttl), (DNSClass::NONE, 0));
        // As it goes over the wire, and back.
        let bytes = message.to_vec().unwrap();
        let read = Message::from_vec(&bytes).unwrap();
        assert_eq!(read.updates().len(), 1);
        assert_eq!(read.prerequisites().len(), 3);
    }
}
