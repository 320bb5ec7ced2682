//! Upstreams over TLS.

use std::io::{Read as _, Write as _};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// A key that nobody has to keep, and a certificate of it for 127.0.0.1 and localhost that no
/// authority signed; valid until 2126.
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1Mbl0/073EL2xT61
q0547zPsMaLxytnTRernxzbIUVGhRANCAAQg0TtvwW2VNb1dcq7w2T0lRLCDHRiY
h9j31J0+PQki0MES8qYU4vqyUeQftWLi0OT0eb4QBdl69RsdBPB8TTVc
-----END PRIVATE KEY-----
";
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUBkQ7lYlQw0szQ2p53CDXS4ZkmJQwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyMzIxMTQyN1oYDzIxMjYxMDMwMjEx
NDI3WjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQg0TtvwW2VNb1dcq7w2T0lRLCDHRiYh9j31J0+PQki0MES8qYU4vqyUeQftWLi
0OT0eb4QBdl69RsdBPB8TTVco28wbTAdBgNVHQ4EFgQUXGRR6FJoiYf2ZkkBrt8z
h7Nd+sUwHwYDVR0jBBgwFoAUXGRR6FJoiYf2ZkkBrt8zh7Nd+sUwDwYDVR0TAQH/
BAUwAwEB/zAaBgNVHREEEzARhwR/AAABgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIgQbjtSNs8p8nAre29NMBYLYwtGw2potrx5tvVnjxy8HYCIQDaWqtMIcXt
+YQy4JkecIXzTJ2SM0U8uVvT1k2M1QRxUg==
-----END CERTIFICATE-----
";

/// The address in place of a name is what pingora verifies. Did it verify nothing, this impostor
/// would get the request.
#[tokio::test]
async fn an_impostor_gets_nothing_even_where_the_upstream_is_an_address() {
    crate::client::install_crypto_provider();
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("PEM");
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");
    let tls = Arc::new(tls);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let impostor = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().expect("a connection");
        let mut session = rustls::ServerConnection::new(tls).expect("a session");
        let mut stream = rustls::Stream::new(&mut session, &mut tcp);
        let mut request = [0; 1];
        let got = stream.read(&mut request).unwrap_or(0);
        // Fails when the caller hung up, as it should have.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        got
    });
    let up = upstream(&format!("https://{address}"));
    let house = House::with(up, vec![route("all", "/")]).await;
    let answer = house.call("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.status, 502);
    assert_eq!(
        impostor.join().expect("no panic"),
        0,
        "the request was sent"
    );
}
