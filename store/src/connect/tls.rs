//! TLS as the words of libpq describe it: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`.
//!
//! Invariants:
//! - whoever asks for TLS gets a server that proved who it is, or no connection: there is no mode
//!   that encrypts towards anybody, and none that falls back to plain text;
//! - files are read once, here; what is wrong with one is told with its name.

use std::fmt;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, ConfigBuilder, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::any_name::AnyName;
use super::words::Words;

/// What libpq takes for the roots of the system.
const SYSTEM: &str = "system";

/// How to encrypt.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: MakeRustlsConnect,
    /// The same in libpq's words, for other programs.
    pub(super) words: Vec<(&'static str, String)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.words).finish()
    }
}

/// How the server proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// A certificate of a trusted root for the name of the host.
    Full,
    /// A certificate of a trusted root.
    Root,
}

impl Tls {
    /// What the words ask for; none for plain text. `is_here`: every host is this machine.
    pub(super) fn of(words: &Words, is_here: bool) -> Result<Option<Tls>, String> {
        let Some(proof) = proof(words.get("sslmode"), is_here)? else {
            let unused =
                ["sslrootcert", "sslcert", "sslkey"].iter().find(|name| words.get(name).is_some());
            return match unused {
                Some(name) => Err(format!("has {name}, but no TLS: write sslmode=verify-full")),
                None => Ok(None),
            };
        };
        Tls::with(proof, words).map(Some)
    }

    fn with(proof: Proof, words: &Words) -> Result<Tls, String> {
        let root = words.get("sslrootcert").unwrap_or(SYSTEM);
        if proof == Proof::Root && root == SYSTEM {
            // Else anybody with a certificate of any name from a public authority would do.
            return Err("sslmode=verify-ca needs sslrootcert, the file of a root certificate \
                        of your own"
                .to_owned());
        }
        let mut config = identify(trusting(proof, roots(root)?)?, words)?;
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let mode = if proof == Proof::Full { "verify-full" } else { "verify-ca" };
        let mut told = vec![("sslmode", mode.to_owned()), ("sslrootcert", root.to_owned())];
        let own = ["sslcert", "sslkey"];
        told.extend(own.iter().filter_map(|name| Some((*name, words.get(name)?.to_owned()))));
        Ok(Tls { connector: MakeRustlsConnect::new(config), words: told })
    }
}

/// What a mode asks for; none for plain text.
fn proof(mode: Option<&str>, is_here: bool) -> Result<Option<Proof>, String> {
    match mode {
        Some("disable") => Ok(None),
        Some("verify-full" | "require") => Ok(Some(Proof::Full)),
        Some("verify-ca") => Ok(Some(Proof::Root)),
        Some("allow" | "prefer") => Err("has an sslmode that may fall back to plain text: write \
             sslmode=verify-full, or sslmode=disable"
            .to_owned()),
        Some(_) => Err("does not parse: invalid value for option `sslmode`".to_owned()),
        None if is_here => Ok(None),
        None => Err("names another machine without sslmode: write sslmode=verify-full, or \
             sslmode=disable where nobody else can read the network"
            .to_owned()),
    }
}

fn roots(root: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    if root == SYSTEM {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let hint = "this system has no root certificates: give the file of one as sslrootcert";
        return if store.is_empty() { Err(hint.to_owned()) } else { Ok(store) };
    }
    for certificate in certificates("sslrootcert", root)? {
        store.add(certificate).map_err(|error| format!("sslrootcert {root}: {error}"))?;
    }
    Ok(store)
}

type Trusting = ConfigBuilder<ClientConfig, WantsClientCert>;

fn trusting(proof: Proof, roots: RootCertStore) -> Result<Trusting, String> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(match proof {
        Proof::Full => builder.with_root_certificates(roots),
        Proof::Root => {
            let verifier = Arc::new(AnyName { roots, algorithms });
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    })
}

/// With our own certificate, if there is one.
fn identify(builder: Trusting, words: &Words) -> Result<ClientConfig, String> {
    let (chain, key) = match (words.get("sslcert"), words.get("sslkey")) {
        (None, None) => return Ok(builder.with_no_client_auth()),
        (Some(chain), Some(key)) => (chain, key),
        (Some(_), None) => return Err("has sslcert without sslkey".to_owned()),
        (None, Some(_)) => return Err("has sslkey without sslcert".to_owned()),
    };
    let certificates = certificates("sslcert", chain)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            format!("sslkey {key}: holds no private key in PEM without a passphrase")
        }
        error => told("sslkey", key, &error),
    })?;
    let config = builder.with_client_auth_cert(certificates, private);
    config.map_err(|error| format!("sslcert {chain} with sslkey {key}: {error}"))
}

fn certificates(word: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| told(word, file, &error))?;
    if read.is_empty() {
        return Err(format!("{word} {file}: holds no certificate in PEM"));
    }
    Ok(read)
}

/// A file that cannot be read, without anything that stands in it.
fn told(word: &str, file: &str, error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("{word} {file}: {error}"),
        _ => format!("{word} {file}: is not well-formed PEM"),
    }
}

/// A failure of TLS, for an operator. Without the time of the day: the same failure is told once.
pub(crate) fn explain(error: &rustls::Error) -> String {
    use CertificateError as Bad;
    let reason = match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            // The second: from a root of the same name with another key.
            Bad::UnknownIssuer | Bad::BadSignature => {
                "is not from a root that is trusted here: sslrootcert names the file of its root"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "is not for the host that database_url names: use a name that it has"
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "has expired: renew it on the server",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "is not valid yet: see that the clocks are right"
            }
            _ => return format!("TLS: the server's certificate is refused: {error}"),
        },
        rustls::Error::AlertReceived(alert) => {
            return format!("TLS: the server refused the connection: {alert:?}");
        }
        _ => return format!("TLS: {error}"),
    };
    format!("TLS: the server's certificate {reason}")
}
