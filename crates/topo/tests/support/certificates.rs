//! An authority, and the certificates that it has signed.
#![allow(dead_code, reason = "each test program uses its part")]

use tempfile::TempDir;

/// A directory with `ca.pem`, and certificates and keys of a server and a client.
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
        let directory = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
        write("ca.pem", authority.pem());
        for (name, hosts) in [
            ("server", ["127.0.0.1", "store.internal", "devstoreaccount1.store.internal"].map(str::to_owned).to_vec()),
            ("client", Vec::new()),
        ] {
            let mut parameters = CertificateParams::new(hosts).unwrap();
            parameters.distinguished_name.push(DnType::CommonName, format!("the {name}"));
            let key = KeyPair::generate().unwrap();
            let signed = parameters.signed_by(&key, &authority).unwrap();
            write(&format!("{name}.pem"), signed.pem());
            write(&format!("{name}.key"), key.serialize_pem());
            super::support::make_private(&directory.path().join(format!("{name}.key")));
        }
        Certificates { directory }
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}
