//! What types and fields say of themselves, made while building (`build.rs`) and kept compressed.

use flate2::read::ZlibDecoder;
use std::collections::BTreeMap;
use std::io::Read;

const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.z"));

/// Texts by type and field; the type's own under the empty name. About 1 MiB, to be dropped after use.
#[derive(Debug, Default)]
pub(super) struct Descriptions(BTreeMap<String, BTreeMap<String, String>>);

impl Descriptions {
    /// Unpacks them.
    pub(super) fn read() -> Self {
        let mut text = Vec::new();
        // It was written by our own build.
        let read =
            ZlibDecoder::new(PACKED).read_to_end(&mut text).map_err(|error| error.to_string());
        let found =
            read.and_then(|_| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        found.map_or_else(
            |error| {
                tracing::error!(error, "the descriptions of types cannot be read");
                Self::default()
            },
            Self,
        )
    }

    /// What a field of a type says of itself; the type, where the field is empty.
    pub(super) fn of(&self, type_name: &str, field: &str) -> Option<&str> {
        self.0.get(type_name)?.get(field).map(String::as_str)
    }
}
