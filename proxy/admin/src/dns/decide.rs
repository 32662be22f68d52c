//! What a question is answered with: pure, given the names of the mesh.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use codec::dns::{Code, Kind, Query, Record};
use control::handover::{Names, Place};

/// What to do with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Answer {
        code: Code,
        records: Vec<Record>,
    },
    /// Not ours. `on_failure` is the answer when no resolver gives one.
    Forward {
        on_failure: Code,
    },
}

const INTERNET: u16 = 1;

/// `host_search`: the search list of the host's own resolver, which programs append before they ask.
pub fn decide(names: &Names, host_search: &[String], query: &Query) -> Decision {
    if !query.plain || query.class != INTERNET {
        return Decision::Forward { on_failure: Code::ServerFailure };
    }
    if query.kind == Kind::Ptr {
        return reverse(names, &query.name);
    }
    if let Some(places) = find(names, &names.services, &query.name) {
        return Decision::Answer { code: Code::NoError, records: services(places, query) };
    }
    if let Some(addresses) = find(names, &names.addresses, &query.name) {
        return Decision::Answer { code: Code::NoError, records: records(addresses, query) };
    }
    if is_owned(names, &query.name) {
        let code = if exists(names, &query.name) { Code::NoError } else { Code::NoSuchName };
        return Decision::Answer { code, records: vec![] };
    }
    // `web.corp.example` while the program means `web`: if the host's resolver is away, let it ask for that next.
    let ours = host_search.iter().any(|suffix| {
        let bare = query.name.strip_suffix(suffix.as_str()).and_then(|name| name.strip_suffix('.'));
        bare.is_some_and(|bare| find(names, &names.addresses, bare).is_some())
    });
    Decision::Forward { on_failure: if ours { Code::NoSuchName } else { Code::ServerFailure } }
}

/// The name as given, then below each entry of the mesh's search list.
fn find<'a, T>(names: &Names, table: &'a BTreeMap<Arc<str>, Vec<T>>, name: &str) -> Option<&'a [T]> {
    let exact = table.get(name);
    let found = exact.or_else(|| names.search.iter().find_map(|zone| table.get(&*format!("{name}.{zone}"))));
    found.map(Vec::as_slice)
}

fn is_owned(names: &Names, name: &str) -> bool {
    names.zones.iter().any(|zone| is_below(name, zone))
}

fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// It has something below it, or is a service label (`_http._tcp.`) of a name that exists.
fn exists(names: &Names, name: &str) -> bool {
    let below = |known: &Arc<str>| known.len() > name.len() && is_below(known, name);
    let mut labels = name.splitn(3, '.');
    let service = match (labels.next(), labels.next(), labels.next()) {
        (Some(port), Some(protocol), Some(rest)) if port.starts_with('_') && protocol.starts_with('_') => Some(rest),
        _ => None,
    };
    names.zones.iter().any(|zone| **zone == *name)
        || service.is_some_and(|rest| names.addresses.contains_key(rest))
        || names.addresses.keys().any(below)
}

/// The addresses of the kind asked for, beginning at a place that differs from query to query.
fn records(addresses: &[IpAddr], query: &Query) -> Vec<Record> {
    let mut records: Vec<Record> = addresses
        .iter()
        .filter_map(|address| match (address, query.kind) {
            (IpAddr::V4(address), Kind::A | Kind::Any) => Some(Record::A(*address)),
            (IpAddr::V6(address), Kind::Aaaa | Kind::Any) => Some(Record::Aaaa(*address)),
            _ => None,
        })
        .collect();
    turn(&mut records, query);
    records
}

/// Where a named port is (RFC 2782): all of the same priority and weight.
fn services(places: &[Place], query: &Query) -> Vec<Record> {
    if !matches!(query.kind, Kind::Srv | Kind::Any) {
        return vec![];
    }
    let record =
        |(target, port): &Place| Record::Srv { priority: 0, weight: 100, port: *port, target: target.to_string() };
    let mut records: Vec<Record> = places.iter().map(record).collect();
    turn(&mut records, query);
    records
}

fn turn(records: &mut [Record], query: &Query) {
    let first = usize::from(query.id).checked_rem(records.len()).unwrap_or(0);
    records.rotate_left(first);
}

fn reverse(names: &Names, name: &str) -> Decision {
    let found = codec::dns::reverse_address(name).and_then(|address| {
        names.addresses.iter().find(|(_, addresses)| addresses.contains(&address)).map(|(name, _)| name)
    });
    match found {
        Some(name) => Decision::Answer { code: Code::NoError, records: vec![Record::Ptr(name.to_string())] },
        None => Decision::Forward { on_failure: Code::NoSuchName },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let table: [(&str, &[&str]); 3] = [
            ("web.default.svc.cluster.local", &["198.19.0.1"]),
            ("db.data.svc.cluster.local", &["198.19.0.2", "198.19.0.3"]),
            ("v6.default.svc.cluster.local", &["fd00::1"]),
        ];
        Names {
            addresses: table
                .iter()
                .map(|(name, addresses)| (Arc::from(*name), addresses.iter().map(|a| a.parse().unwrap()).collect()))
                .collect(),
            services: [(
                "_http._tcp.web.default.svc.cluster.local".into(),
                vec![("web.default.svc.cluster.local".into(), 80)],
            )]
            .into(),
            zones: vec!["svc.cluster.local".into()],
            search: vec!["default.svc.cluster.local".into(), "svc.cluster.local".into(), "cluster.local".into()],
        }
    }

    /// A query as the codec reads it.
    fn query(name: &str, kind: u16) -> Query {
        let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        codec::dns::read_query(&message).unwrap()
    }

    fn ask(name: &str, kind: u16) -> Decision {
        decide(&names(), &["corp.example".to_owned()], &query(name, kind))
    }

    fn a(addresses: &[&str]) -> Decision {
        let records = addresses.iter().map(|address| Record::A(address.parse().unwrap())).collect();
        Decision::Answer { code: Code::NoError, records }
    }

    const EMPTY: Decision = Decision::Answer { code: Code::NoError, records: vec![] };
    const NONE: Decision = Decision::Answer { code: Code::NoSuchName, records: vec![] };
    const FORWARD: Decision = Decision::Forward { on_failure: Code::ServerFailure };

    #[test]
    fn names_of_the_mesh_are_found_as_given_and_through_the_search_list() {
        for name in
            ["web.default.svc.cluster.local", "WEB.default.svc.Cluster.local", "web", "web.default", "web.default.svc"]
        {
            assert_eq!(ask(name, 1), a(&["198.19.0.1"]), "{name}");
        }
        assert_eq!(ask("db.data", 1), a(&["198.19.0.2", "198.19.0.3"]));
    }

    #[test]
    fn a_name_that_exists_has_no_records_of_other_kinds_and_a_missing_one_is_said_to_be_missing() {
        assert_eq!(ask("web", 28), EMPTY);
        assert_eq!(ask("web", 16), EMPTY);
        assert_eq!(ask("v6", 1), EMPTY);
        assert_eq!(ask("_grpc._tcp.web.default.svc.cluster.local", 33), EMPTY);
        assert_eq!(ask("_http._tcp.web.default.svc.cluster.local", 1), EMPTY);
        assert_eq!(ask("default.svc.cluster.local", 1), EMPTY);
        assert_eq!(ask("svc.cluster.local", 1), EMPTY);
        assert_eq!(ask("mail.default.svc.cluster.local", 1), NONE);
        assert_eq!(ask("eb.default.svc.cluster.local", 1), NONE);
    }

    #[test]
    fn a_named_port_is_found_as_given_and_through_the_search_list() {
        let target = "web.default.svc.cluster.local".to_owned();
        let records = vec![Record::Srv { priority: 0, weight: 100, port: 80, target }];
        for name in ["_http._tcp.web.default.svc.cluster.local", "_http._tcp.web"] {
            assert_eq!(ask(name, 33), Decision::Answer { code: Code::NoError, records: records.clone() }, "{name}");
        }
    }

    #[test]
    fn what_is_not_ours_is_forwarded() {
        assert_eq!(ask("example.org", 1), FORWARD);
        assert_eq!(ask("xsvc.cluster.local", 1), FORWARD);
        assert_eq!(ask("mail", 1), FORWARD);
        assert_eq!(ask("web.corp.example", 1), Decision::Forward { on_failure: Code::NoSuchName });
    }

    #[test]
    fn addresses_of_the_mesh_have_names() {
        let found = Decision::Answer {
            code: Code::NoError,
            records: vec![Record::Ptr("web.default.svc.cluster.local".into())],
        };
        assert_eq!(ask("1.0.19.198.in-addr.arpa", 12), found);
        assert_eq!(ask("1.0.0.10.in-addr.arpa", 12), Decision::Forward { on_failure: Code::NoSuchName });
    }
}
