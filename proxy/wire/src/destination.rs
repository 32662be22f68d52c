//! `Destination.Get` and `GetProfile`: endpoints, the sets they form, and what is known of a name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use linkerd2_proxy_api::destination as proto;
use rules::endpoint::{Endpoint, Hint, Place, ServerTls};
use rules::identity::Identity;
use rules::meta::Meta;

use crate::http::is_text;
use crate::invalid::{Invalid, Why, check, each, optional, required, within};
use crate::{meta, net};

/// Endpoints of one destination.
pub const MAX_ENDPOINTS: usize = 10_000;
const MAX_LABELS: usize = 64;
const MAX_LABEL: usize = 1_024;
const MAX_OVERRIDES: usize = 256;
/// Rejected endpoints reported of one update.
const MAX_REJECTED: usize = 8;

/// The endpoints of one destination, as the updates of one stream leave them. A new stream starts with a new table.
#[derive(Clone, Debug, Default)]
pub struct EndpointTable {
    endpoints: BTreeMap<Place, Endpoint>,
}

/// What an update made of the set.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// All of them, in the order of their addresses.
    pub endpoints: Arc<[Endpoint]>,
    /// Endpoints of the update that cannot be understood, the first few: each stays as it was before, if it was.
    pub rejected: Vec<Invalid>,
}

impl EndpointTable {
    pub fn new() -> EndpointTable {
        EndpointTable::default()
    }

    /// Folds one update in. An error changes nothing; a single bad endpoint does not spoil the others, since the edits
    /// that follow count on them.
    pub fn apply(&mut self, update: &proto::Update) -> Result<Applied, Invalid> {
        use proto::update::Update;
        let mut rejected = Vec::new();
        match required("update", &update.update)? {
            Update::Add(set) => self.add(set, &mut rejected)?,
            Update::Remove(set) => {
                for address in &set.addrs {
                    match net::socket(address) {
                        Ok(address) => self.endpoints.retain(|place, _| place.0 != address),
                        Err(invalid) => reject(&mut rejected, invalid.within("remove.addrs")),
                    }
                }
            }
            Update::NoEndpoints(_) => self.endpoints.clear(),
        }
        Ok(Applied { endpoints: self.endpoints.values().cloned().collect(), rejected })
    }

    fn add(&mut self, set: &proto::WeightedAddrSet, rejected: &mut Vec<Invalid>) -> Result<(), Invalid> {
        let shared = labels(&set.metric_labels)?;
        let shared_labels = Arc::new(shared);
        let mut added = BTreeMap::new();
        for (index, address) in set.addrs.iter().enumerate() {
            match labelled_endpoint(address, &shared_labels) {
                Ok(endpoint) => drop(added.insert(endpoint.place(), endpoint)),
                Err(invalid) => reject(rejected, invalid.within(format_args!("add.addrs[{index}]"))),
            }
        }
        let fresh = added.keys().filter(|place| !self.endpoints.contains_key(place)).count();
        let fits = self.endpoints.len() + fresh <= MAX_ENDPOINTS;
        check("add.addrs", (), Why::TooMany(MAX_ENDPOINTS), fits)?;
        // Several may share an address; what is said of it replaces all that was said before.
        let told: BTreeSet<SocketAddr> = added.keys().map(|place| place.0).collect();
        self.endpoints.retain(|place, _| added.contains_key(place) || !told.contains(&place.0));
        // Who did not change stays the very same value, so that what others remember by its labels stays good.
        added.retain(|place, endpoint| self.endpoints.get(place) != Some(endpoint));
        self.endpoints.extend(added);
        Ok(())
    }
}

fn reject(rejected: &mut Vec<Invalid>, invalid: Invalid) {
    if rejected.len() < MAX_REJECTED {
        rejected.push(invalid);
    }
}

/// One endpoint by itself, as profiles and forward backends give it.
pub fn endpoint(address: &proto::WeightedAddr) -> Result<Endpoint, Invalid> {
    labelled_endpoint(address, &Arc::default())
}

fn labelled_endpoint(
    address: &proto::WeightedAddr,
    shared: &Arc<BTreeMap<String, String>>,
) -> Result<Endpoint, Invalid> {
    let own = labels(&address.metric_labels)?;
    let labels = if own.is_empty() {
        shared.clone()
    } else {
        let mut all = (**shared).clone();
        all.extend(own);
        Arc::new(all)
    };
    let (hint, inbound_port) = match &address.protocol_hint {
        None => (Hint::Unknown, None),
        Some(hint) => protocol_hint(hint).map_err(|invalid| invalid.within("protocol_hint"))?,
    };
    Ok(Endpoint {
        address: within("addr", &address.addr, net::socket)?,
        weight: address.weight,
        tls: optional("tls_identity", &address.tls_identity, server_tls)?,
        hint,
        inbound_port,
        authority_override: optional("authority_override", &address.authority_override, |name| {
            let name = &name.authority_override;
            check("authority_override", name.as_str().into(), Why::Malformed, is_text(name))
        })?,
        labels,
    })
}

fn protocol_hint(hint: &proto::ProtocolHint) -> Result<(Hint, Option<u16>), Invalid> {
    use proto::protocol_hint::Protocol;
    let port = match &hint.opaque_transport {
        None => None,
        Some(transport) => Some(net::port("opaque_transport.inbound_port", transport.inbound_port)?),
    };
    let hint = match &hint.protocol {
        None => Hint::Unknown,
        Some(Protocol::H2(_)) => Hint::H2,
        Some(Protocol::Opaque(_)) => Hint::Opaque,
    };
    Ok((hint, port))
}

/// An identity in a form this version does not know obliges to more than it can check, so the endpoint is invalid.
fn server_tls(tls: &proto::TlsIdentity) -> Result<ServerTls, Invalid> {
    use proto::tls_identity::Strategy;
    let identity = match required("strategy", &tls.strategy)? {
        Strategy::DnsLikeIdentity(dns) => Identity::Dns(dns.name.as_str().into()),
        Strategy::UriLikeIdentity(uri) => Identity::Uri(uri.uri.as_str().into()),
    };
    check("strategy", (), Why::Malformed, is_text(identity.as_str()))?;
    let server_name = match (&tls.server_name, &identity) {
        (Some(name), _) => name.name.as_str().into(),
        (None, Identity::Dns(name)) => name.clone(),
        (None, Identity::Uri(_)) => return Err(Invalid::new("server_name", Why::Missing)),
    };
    let server_name: Arc<str> = check("server_name", server_name.clone(), Why::Malformed, is_text(&server_name))?;
    Ok(ServerTls { identity, server_name })
}

fn labels(labels: &HashMap<String, String>) -> Result<BTreeMap<String, String>, Invalid> {
    check("metric_labels", (), Why::TooMany(MAX_LABELS), labels.len() <= MAX_LABELS)?;
    let fits = labels.iter().all(|(name, value)| name.len() <= MAX_LABEL && value.len() <= MAX_LABEL);
    check("metric_labels", (), Why::TooLong(MAX_LABEL), fits)?;
    Ok(labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// What `GetProfile` tells of a destination beyond its policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// `web.default.svc.cluster.local`, without port; `None` when the destination has no name.
    pub name: Option<Arc<str>>,
    pub opaque: bool,
    /// The destination is this one endpoint: no balancing.
    pub endpoint: Option<Endpoint>,
    /// Traffic goes to these authorities by weight instead.
    pub overrides: Vec<(Arc<str>, u32)>,
    pub parent: Option<Arc<Meta>>,
    /// It has ServiceProfile routes, which are not read.
    pub has_routes: bool,
}

/// One message of `Destination.GetProfile`.
pub fn profile(profile: &proto::DestinationProfile) -> Result<Profile, Invalid> {
    let name = &profile.fully_qualified_name;
    Ok(Profile {
        name: if name.is_empty() {
            None
        } else {
            Some(check("fully_qualified_name", name.as_str().into(), Why::Malformed, is_text(name))?)
        },
        opaque: profile.opaque_protocol,
        endpoint: optional("endpoint", &profile.endpoint, endpoint)?,
        overrides: each("dst_overrides", &profile.dst_overrides, MAX_OVERRIDES, |dst| {
            let authority = check("authority", dst.authority.as_str().into(), Why::Malformed, is_text(&dst.authority))?;
            Ok((authority, dst.weight))
        })?,
        parent: optional("parent_ref", &profile.parent_ref, meta::meta)?,
        has_routes: !profile.routes.is_empty(),
    })
}
