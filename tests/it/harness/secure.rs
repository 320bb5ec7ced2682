//! An API over TLS, whose certificate only an authority of `tests/it/tls` stands for.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Answers every request alike, one a connection.
pub(crate) struct Secure {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    /// Whether it came with a certificate.
    pub(crate) is_certified: bool,
}

/// Whether it asks clients for their certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Nobody,
    /// Who has none is served all the same.
    Politely,
    /// Who has none is not served.
    Firmly,
}

/// Who stands for its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    /// The one that configurations name.
    Own,
    /// Another one, which the system may believe.
    Public,
}

/// The token that it issues.
const TOKEN: &str = r#"{"access_token":"battery","token_type":"Bearer","expires_in":3600}"#;

/// Where a file of `tests/it/tls` is.
pub(crate) fn fixture(name: &str) -> String {
    format!("{}/tests/it/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

impl Secure {
    /// The list `[]` under this status line and these headers.
    pub(crate) fn answering(asks: Asks, status: &str, headers: &str) -> Self {
        Self::sending(asks, Authority::Own, status, headers, "[]")
    }

    /// The list `[]`.
    pub(crate) fn vouched_for_by(authority: Authority) -> Self {
        Self::sending(Asks::Politely, authority, "200 OK", "", "[]")
    }

    /// The token `battery`.
    pub(crate) fn issuing(authority: Authority) -> Self {
        Self::sending(Asks::Politely, authority, "200 OK", "", TOKEN)
    }

    fn sending(asks: Asks, authority: Authority, status: &str, headers: &str, body: &str) -> Self {
        ::doorbell::client::install_crypto_provider();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let config = config(asks, authority);
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let log = Arc::clone(&seen);
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n{headers}\r\n{body}",
            body.len()
        );
        // Ends with the tests' process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, log, answer) = (config.clone(), Arc::clone(&log), answer.clone());
                thread::spawn(move || attend(stream, config, &log, &answer));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

impl fmt::Display for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.address)
    }
}

/// A client that is not to be served hears nothing.
fn attend(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    log: &Mutex<Vec<Seen>>,
    answer: &str,
) -> Option<()> {
    let session = ServerConnection::new(config).ok()?;
    let mut stream = StreamOwned::new(session, tcp);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
    log.lock().push(Seen {
        head,
        is_certified: stream.conn.peer_certificates().is_some(),
    });
    stream.write_all(answer.as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

fn config(asks: Asks, authority: Authority) -> Arc<ServerConfig> {
    let pem = |name: &str| std::fs::read(fixture(name)).expect("a fixture");
    let certificate = |name: &str| CertificateDer::from_pem_slice(&pem(name)).expect("PEM");
    let name = match authority {
        Authority::Own => "server",
        Authority::Public => "public-server",
    };
    let key = PrivateKeyDer::from_pem_slice(&pem(&format!("{name}.key.pem"))).expect("PEM");
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem")).expect("an authority");
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
    let builder = match asks {
        Asks::Nobody => ServerConfig::builder().with_no_client_auth(),
        Asks::Politely => {
            let verifier = verifier.allow_unauthenticated().build();
            ServerConfig::builder().with_client_cert_verifier(verifier.expect("roots"))
        }
        Asks::Firmly => {
            ServerConfig::builder().with_client_cert_verifier(verifier.build().expect("roots"))
        }
    };
    let config = builder.with_single_cert(vec![certificate(&format!("{name}.pem"))], key);
    Arc::new(config.expect("a certificate and its key"))
}
