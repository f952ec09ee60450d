//! A certificate authority of the server's own, and its certificate for the address that it listens on.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The authority and what it signed.
pub struct Authority {
    /// Its certificate, PEM.
    pub pem: String,
    /// Its key, PEM.
    pub key: String,
    leaf: rustls::pki_types::CertificateDer<'static>,
    leaf_key: Vec<u8>,
}

/// Certificate and key of an authority that was made before.
#[derive(Clone, Debug)]
pub struct Known {
    /// The certificate, PEM.
    pub pem: String,
    /// The key, PEM.
    pub key: String,
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "kubesim");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl Authority {
    /// A new authority, or the one that clients know.
    pub fn new(known: Option<Known>, address: IpAddr) -> Result<Self, rcgen::Error> {
        let (pem, key) = match known {
            Some(known) => (known.pem, KeyPair::from_pem(&known.key)?),
            None => {
                let key = KeyPair::generate()?;
                (authority_params().self_signed(&key)?.pem(), key)
            }
        };
        let key_pem = key.serialize_pem();
        // Name and key are all that a signature takes of its issuer.
        let issuer = Issuer::new(authority_params(), key);
        let names =
            ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1"];
        let mut names: Vec<String> = names.map(String::from).to_vec();
        if !names.contains(&address.to_string()) {
            names.push(address.to_string());
        }
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "kubesim-server");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate()?;
        let leaf = params.signed_by(&leaf_key, &issuer)?;
        Ok(Authority { pem, key: key_pem, leaf: leaf.der().clone(), leaf_key: leaf_key.serialize_der() })
    }

    /// TLS for the server.
    pub fn server(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.clone()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
