//! TLS in front of a server of a test, with certificates that are good or bad.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, pki_types::PrivateKeyDer},
};

/// The certificate that a server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    Good,
    Expired,
    NotYetValid,
    OfAnotherHost,
    /// By an authority that the client does not know.
    OfUnknownAuthority,
}

/// Takes TLS connections at `localhost` and passes them on. It stops on drop.
#[derive(Debug)]
pub(crate) struct Tls {
    address: SocketAddr,
    /// The authority that clients have to know.
    pub(crate) authority: reqwest::Certificate,
    accepting: JoinHandle<()>,
}

impl Tls {
    /// `protocols` are offered by ALPN, such as `h2`.
    pub(crate) async fn before(server: SocketAddr, certificate: Certificate, protocols: &[&str]) -> io::Result<Self> {
        let (known, unknown) = (authority(), authority());
        let issuer = if certificate == Certificate::OfUnknownAuthority { &unknown } else { &known };
        let host = if certificate == Certificate::OfAnotherHost { "elsewhere.example" } else { "localhost" };
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        (params.not_before, params.not_after) = match certificate {
            Certificate::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Certificate::NotYetValid => (date_time_ymd(4000, 1, 1), date_time_ymd(4001, 1, 1)),
            _ => (date_time_ymd(2020, 1, 1), date_time_ymd(4001, 1, 1)),
        };
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let mut outside = acceptor.accept(stream).await?;
                    let mut inside = TcpStream::connect(server).await?;
                    io::copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        let authority = reqwest::Certificate::from_der(known.der()).unwrap();
        Ok(Self { address, authority, accepting })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/v1", self.address.port())
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
