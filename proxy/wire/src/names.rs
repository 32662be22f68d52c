//! `gossamer.v1.NamesTable` → the names a DNS stub answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::invalid::{Invalid, Why, check, each};
use crate::v1;

pub const MAX_NAMES: usize = 100_000;
const MAX_ADDRESSES: usize = 10_000;
const MAX_ZONES: usize = 256;
const MAX_TARGETS: usize = 10_000;

/// A name of the table, and a port.
pub type Place = (Arc<str>, u16);

/// Complete; the next one replaces it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamesTable {
    /// Fully qualified, lower case, without a dot at the end.
    pub addresses: BTreeMap<Arc<str>, Vec<IpAddr>>,
    pub zones: Vec<Arc<str>>,
    pub search: Vec<Arc<str>>,
    /// Names of named ports, `_http._tcp.web.…` (RFC 2782).
    pub services: BTreeMap<Arc<str>, Vec<Place>>,
}

pub fn table(table: &v1::NamesTable) -> Result<NamesTable, Invalid> {
    let names = each("names", &table.names, MAX_NAMES, |entry| {
        let addresses = each("addresses", &entry.addresses, MAX_ADDRESSES, |text| {
            text.parse::<IpAddr>().map_err(|_| Invalid::new("address", Why::Malformed))
        })?;
        Ok((name(&entry.name)?, addresses))
    })?;
    let mut addresses: BTreeMap<Arc<str>, Vec<IpAddr>> = BTreeMap::new();
    for (name, more) in names {
        addresses.entry(name).or_default().extend(more);
    }
    let services = each("services", &table.services, MAX_NAMES, |service| {
        let places = each("targets", &service.targets, MAX_TARGETS, place)?;
        Ok((name(&service.name)?, places))
    })?;
    Ok(NamesTable {
        addresses,
        services: services.into_iter().collect(),
        zones: each("zones", &table.zones, MAX_ZONES, |zone| name(zone))?,
        search: each("search", &table.search, MAX_ZONES, |zone| name(zone))?,
    })
}

fn place(target: &v1::ServiceTarget) -> Result<Place, Invalid> {
    let port = u16::try_from(target.port).map_err(|_| Invalid::new("port", Why::Malformed))?;
    Ok((name(&target.name)?, port))
}

/// RFC 1035 §2.3.4, and what names look like in zones.
fn name(text: &str) -> Result<Arc<str>, Invalid> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-' || byte == b'_')
    };
    check("name", text.into(), Why::Malformed, text.len() <= 253 && text.split('.').all(is_label))
}
