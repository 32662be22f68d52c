//! TLS 1.3 as bytes in, bytes out. Behind a trait, because the record layer may change (own records, kernel);
//! today's only implementation is `rustls::unbuffered`, whose idle sessions own no buffers.
//!
//! No socket is touched here, and no verification is decided: that is the configuration's, made by `control`.

use std::sync::Arc;

use control::identity::Peer;
use rules::identity::Identity;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedConnectionCommon, UnbufferedStatus};
use rustls::{ClientConfig, ServerConfig};

/// The ALPN of connections that begin with a transport header.
pub const TRANSPORT_ALPN: &[u8] = b"transport.l5d.io/v1";

/// Largest plaintext of one record.
const RECORD: usize = 16 * 1024;
/// Header, content type and tag, rounded up.
const OVERHEAD: usize = 32;

/// Why a session ended; the text is for logs and for the peer of the request that needed it.
pub type Error = String;

/// What one `receive` came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that are done with; the rest must be given again, with more behind it.
    pub used: usize,
    pub established: bool,
    /// The peer said that it sends nothing more (close_notify).
    pub finished: bool,
}

/// One session. Bytes for the peer are appended to `wire`.
pub trait Tls {
    /// Reads records, decrypting into `plain`. With an empty input, a client's first flight.
    fn receive(&mut self, input: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<Progress, Error>;

    /// Encrypts all of `plain`; only after the handshake.
    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Error>;

    /// Says that nothing more will be sent.
    fn close(&mut self, wire: &mut Vec<u8>);

    /// The peer's certificate name, verified by the configuration. `None` when it sent no certificate.
    fn peer(&self) -> Option<Identity>;

    /// What the peer showed, leaf first; empty when it sent no certificate.
    fn chain(&self) -> &[CertificateDer<'static>];

    /// Which of the two the peer is.
    fn kind(&self) -> Peer;

    fn alpn(&self) -> Option<&[u8]>;
}

pub fn client(config: Arc<ClientConfig>, server_name: &str) -> Result<Box<dyn Tls>, Error> {
    let name =
        ServerName::try_from(server_name.to_owned()).map_err(|_| format!("{server_name:?} is no server name"))?;
    let session = UnbufferedClientConnection::new(config, name).map_err(|error| error.to_string())?;
    Ok(Box::new(Session { rustls: session, established: false, finished: false }))
}

pub fn server(config: Arc<ServerConfig>) -> Result<Box<dyn Tls>, Error> {
    let session = UnbufferedServerConnection::new(config).map_err(|error| error.to_string())?;
    Ok(Box::new(Session { rustls: session, established: false, finished: false }))
}

struct Session<C> {
    rustls: C,
    established: bool,
    finished: bool,
}

/// rustls defines record processing once per role; this joins the two.
trait Role: std::ops::DerefMut<Target = UnbufferedConnectionCommon<Self::Data>> {
    type Data;
    const PEER: Peer;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Role for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const PEER: Peer = Peer::Server;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

impl Role for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const PEER: Peer = Peer::Client;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

impl<C: Role> Session<C> {
    fn drive(&mut self, input: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.rustls.process(&mut input[used..]);
            let mut blocked = false;
            match state.map_err(|error| error.to_string())? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| error.to_string())?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => encode(wire, |into| data.encode(into))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::BlockedHandshake => blocked = true,
                ConnectionState::WriteTraffic(_) => {
                    self.established = true;
                    blocked = true;
                }
                ConnectionState::PeerClosed => self.finished = true,
                ConnectionState::Closed => blocked = true,
                _ => return Err("early data was not offered".into()),
            }
            used += discard;
            if blocked {
                return Ok(used);
            }
        }
    }

    /// After an error, the alert that names it.
    fn alert(&mut self, wire: &mut Vec<u8>) {
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = self.rustls.process(&mut []).state {
            encode(wire, |into| data.encode(into)).unwrap_or_default();
        }
    }
}

impl<C: Role> Tls for Session<C> {
    fn receive(&mut self, input: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<Progress, Error> {
        match self.drive(input, plain, wire) {
            Ok(used) => Ok(Progress { used, established: self.established, finished: self.finished }),
            Err(error) => {
                self.alert(wire);
                Err(error)
            }
        }
    }

    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Error> {
        let ConnectionState::WriteTraffic(mut traffic) =
            self.rustls.process(&mut []).state.map_err(|e| e.to_string())?
        else {
            return Err("the session cannot send".into());
        };
        let start = wire.len();
        wire.resize(start + plain.len() + (plain.len() / RECORD + 1) * OVERHEAD, 0);
        let written = traffic.encrypt(plain, &mut wire[start..]).map_err(|error| error.to_string());
        wire.truncate(start + written.as_ref().copied().unwrap_or(0));
        written.map(|_| ())
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = self.rustls.process(&mut []).state {
            let start = wire.len();
            wire.resize(start + 2 * OVERHEAD, 0);
            let written = traffic.queue_close_notify(&mut wire[start..]).unwrap_or(0);
            wire.truncate(start + written);
        }
    }

    fn peer(&self) -> Option<Identity> {
        self.rustls.peer_certificates()?.first().and_then(identity)
    }

    fn chain(&self) -> &[CertificateDer<'static>] {
        self.rustls.peer_certificates().unwrap_or_default()
    }

    fn kind(&self) -> Peer {
        C::PEER
    }

    fn alpn(&self) -> Option<&[u8]> {
        self.rustls.alpn_protocol()
    }
}

/// Appends what `write` produces, giving it as much room as it asks for.
fn encode(wire: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) -> Result<(), Error> {
    let start = wire.len();
    let mut room = 1024;
    loop {
        wire.resize(start + room, 0);
        match write(&mut wire[start..]) {
            Ok(written) => {
                wire.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => room = needed.required_size,
            Err(error) => {
                wire.truncate(start);
                return Err(error.to_string());
            }
        }
    }
}

/// The one name of a leaf (seams §1); a certificate with none, or with several, names nobody.
fn identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let leaf = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = leaf.valid_dns_names().map(|name| Identity::Dns(name.into()));
    let mut uris = leaf.valid_uri_names().map(|name| Identity::Uri(name.into()));
    match (names.next(), names.next(), uris.next(), uris.next()) {
        (Some(name), None, None, None) | (None, None, Some(name), None) => Some(name),
        _ => None,
    }
}
