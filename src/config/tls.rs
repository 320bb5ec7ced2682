//! `tls` of an upstream: whom it is believed by, and who doorbell is to it.
//!
//! Decides that the files hold what they should and fit together, so that no handshake is the first
//! to find out.

use base64::Engine as _;
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::given;
use super::reader::Keys;
use super::value::Value;
use crate::secret::Secret;

/// Largest file of certificates; the bundle of all public authorities has a quarter of it.
const PEM_BYTES_MAX: u64 = 1 << 20;

const TLS: Keys = Keys {
    now: &["ca", "cert", "key"],
    later: &[],
};

/// `tls` of an upstream.
#[derive(Debug)]
pub struct Tls {
    /// Authorities that are believed in place of those of the system, if any are given.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// Who we are, if anybody.
    pub identity: Option<Identity>,
}

/// A client certificate and its key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate, then those that lead from it to an authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// Both as PEM.
    pub pem: Secret,
}

pub(super) fn tls(value: Value<'_>) -> Option<Tls> {
    let table = value.table(&TLS)?;
    if table.is_empty() {
        value.absent("`tls` is empty, write `ca = \"ca.pem\"`, or `cert` and `key`");
        return None;
    }
    for (key, other) in [("cert", "key"), ("key", "cert")] {
        if table.has(key) && !table.has(other) {
            let message = format!("`{key}` goes with `{other}`, write `{other} = \"{other}.pem\"`");
            table.context.absent(table.place(key), message);
        }
    }
    let chain = table.optional("cert", certificates);
    let key = table.optional("key", private_key);
    let authorities = table.optional("ca", authorities);
    let identity = match (chain, key) {
        (Some(chain), Some(key)) => {
            if let Err(message) = check_pair(&chain, &key) {
                table.context.fault(table.place("key"), message);
            }
            let pem = Secret::new(to_pem(&chain, &key));
            Some(Identity { chain, key, pem })
        }
        _ => None,
    };
    Some(Tls {
        authorities,
        identity,
    })
}

fn authorities(value: Value<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = certificates(value)?;
    let mut store = RootCertStore::empty();
    if certificates.iter().any(|c| store.add(c.clone()).is_err()) {
        value.fault("`ca` holds a certificate that does not read");
        return None;
    }
    Some(certificates)
}

fn certificates(value: Value<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let text = given::file(value, PEM_BYTES_MAX)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let key = value.key;
    match found {
        Ok(found) if !found.is_empty() => Some(found),
        Ok(_) => {
            let message = "no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----";
            value.fault(format!("`{key}` holds {message}"));
            None
        }
        Err(_) => {
            value.fault(format!("`{key}` holds PEM that does not read"));
            None
        }
    }
}

fn private_key(value: Value<'_>) -> Option<PrivateKeyDer<'static>> {
    let text = given::file(value, PEM_BYTES_MAX)?;
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(key) => Some(key),
        Err(pem::Error::NoItemsFound) => {
            let message = "no private key in PEM; one with a password is not read";
            value.fault(format!("`key` holds {message}"));
            None
        }
        Err(_) => {
            value.fault("`key` holds PEM that does not read");
            None
        }
    }
}

/// Whether the key is that of the certificate.
fn check_pair(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), &'static str> {
    match CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err("`key` is not the key of `cert`"),
        Err(rustls::Error::InvalidCertificate(_)) => {
            Err("`cert` holds a certificate that does not read")
        }
        Err(_) => Err("`key` is of a kind that is not supported; RSA, ECDSA and Ed25519 are"),
    }
}

/// Both in one text and without whatever else stood in the files.
fn to_pem(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> String {
    let block = |label: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    let chain = chain.iter().map(|c| block("CERTIFICATE", c));
    chain
        .chain([block(label, key.secret_der())])
        .collect::<String>()
}
