//! The key that signs service account tokens, and JSON Web Tokens as upstream writes them: RS256, the key named by
//! a hash of its public half.

use crate::pki;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Name of the private key's file, as kubeadm has it.
const KEY_FILE: &str = "sa.key";

/// Characters of a line of PEM.
const PEM_LINE: usize = 64;

/// What is wrong with a signing key.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] pki::Error),
    /// What is in it is no key.
    #[error("{}: {why}; restore it from a backup, or remove it to start with a new key (all service account tokens then end)", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The text is no RSA key of at least 2,048 bits in PEM.
    #[error("no RSA private key of 2,048 bits or more in PEM")]
    NotAKey,
    /// The library could not make a key.
    #[error("cannot make a signing key")]
    Make,
}

/// An RSA key that signs tokens.
pub struct SigningKey {
    pair: KeyPair,
    id: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

impl SigningKey {
    /// Reads the key in `folder`, or makes one at the first start.
    pub fn open(folder: &Path) -> Result<Self, SigningKeyError> {
        let path = folder.join(KEY_FILE);
        if let Some(text) = pki::read_if_there(&path)? {
            let why = "this is no RSA private key of 2,048 bits or more in PEM";
            return Self::from_pem(&text).map_err(|_| SigningKeyError::Damaged { path, why });
        }
        let key = Self::generate()?;
        pki::write_private(&path, &key.to_pem()?)?;
        Ok(key)
    }

    /// A new key of 2,048 bits.
    pub fn generate() -> Result<Self, SigningKeyError> {
        KeyPair::generate(KeySize::Rsa2048)
            .map_err(|_| SigningKeyError::Make)
            .and_then(|pair| Self::new(pair, SigningKeyError::Make))
    }

    /// Reads a key in PEM, PKCS#8 or PKCS#1.
    pub fn from_pem(text: &str) -> Result<Self, SigningKeyError> {
        let found = match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(der)) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Pkcs1(der)) => KeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(SigningKeyError::NotAKey),
        };
        Self::new(found.map_err(|_| SigningKeyError::NotAKey)?, SigningKeyError::NotAKey)
    }

    fn new(pair: KeyPair, otherwise: SigningKeyError) -> Result<Self, SigningKeyError> {
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key());
        let Ok(public) = public else { return Err(otherwise) };
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(public.as_ref()));
        Ok(Self { pair, id })
    }

    fn to_pem(&self) -> Result<String, SigningKeyError> {
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&self.pair).map_err(|_| SigningKeyError::Make)?;
        let text = STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        for line in text.as_bytes().chunks(PEM_LINE) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Ok(pem)
    }

    /// A signed token with these claims; `None` when the library cannot sign.
    pub fn sign(&self, claims: &impl serde::Serialize) -> Option<String> {
        let header = json!({"alg": "RS256", "kid": self.id}).to_string();
        let claims = serde_json::to_vec(claims).ok()?;
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let chance = SystemRandom::new();
        self.pair.sign(&RSA_PKCS1_SHA256, &chance, text.as_bytes(), &mut signature).ok()?;
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Why a token is not one of this key's, in upstream's words; its issuer was looked at before.
    pub fn verify(&self, token: &str) -> Result<(), &'static str> {
        let (text, signature) = token.rsplit_once('.').unwrap_or_default();
        let header = text.split('.').next().unwrap_or_default();
        let header: Value = URL_SAFE_NO_PAD
            .decode(header)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        if header.get("kid").and_then(Value::as_str).is_some_and(|id| id != self.id) {
            return Err("invalid signature, no keys found");
        }
        let broken = "go-jose/go-jose: error in cryptographic primitive";
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            return Err(broken);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| broken)?;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key());
        public.verify(text.as_bytes(), &signature).map_err(|_| broken)
    }

    /// The public half as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        let public = self.pair.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [{
            "use": "sig",
            "kty": "RSA",
            "kid": self.id,
            "alg": "RS256",
            "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
        }]})
    }
}

/// The claims of a token whose form is that of a signed one; nothing is verified.
pub(super) fn unverified(token: &str) -> Option<Vec<u8>> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    URL_SAFE_NO_PAD.decode(claims).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_ever_after() {
        let folder = tempfile::tempdir().unwrap();
        let made = SigningKey::open(folder.path()).unwrap();
        let token = made.sign(&json!({"iss": "me"})).unwrap();
        let read = SigningKey::open(folder.path()).unwrap();
        assert_eq!(read.verify(&token), Ok(()));
        assert_eq!(unverified(&token).unwrap(), br#"{"iss":"me"}"#);

        let (text, signature) = token.rsplit_once('.').unwrap();
        let forged = text.replace('.', ".e");
        assert!(read.verify(&format!("{forged}.{signature}")).is_err());
        let plain = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let claims = text.split_once('.').unwrap().1;
        assert!(read.verify(&format!("{plain}.{claims}.")).is_err());
        let other = SigningKey::generate().unwrap().sign(&json!({"iss": "me"})).unwrap();
        assert_eq!(read.verify(&other), Err("invalid signature, no keys found"));

        std::fs::write(folder.path().join(KEY_FILE), "nonsense").unwrap();
        let told = SigningKey::open(folder.path()).unwrap_err().to_string();
        assert!(told.contains("sa.key: this is no RSA private key"), "{told}");
    }
}
