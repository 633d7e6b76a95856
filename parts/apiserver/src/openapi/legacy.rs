//! `/openapi/v2` as protobuf, for kubectl up to 1.28: it asks there whether the server validates fields, and only
//! there. So the document says which kinds can be patched with which query parameters, and nothing else.
//! Message and field numbers are those of gnostic's `openapi.v2.Document`.

use api::resource::ALL;
use bytes::Bytes;
use serde_json::json;

/// A message made of fields with lengths before them, the only kind needed here.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn with(mut self, field: u8, content: &[u8]) -> Self {
        // Wire type 2; all field numbers here are below 16.
        self.0.push(field << 3 | 2);
        let mut left = content.len();
        while left >= 0x80 {
            self.0.push(u8::try_from(left & 0x7f).unwrap_or_default() | 0x80);
            left >>= 7;
        }
        self.0.push(u8::try_from(left).unwrap_or_default());
        self.0.extend_from_slice(content);
        self
    }
}

/// The document.
pub(super) fn document() -> Bytes {
    let mut paths = Message::default();
    for row in ALL.iter().filter(|row| row.allows("patch")) {
        let prefix = if row.group.is_empty() { "/api" } else { "/apis" };
        let space = if row.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("{prefix}/{}/{space}{}/{{name}}", row.api_version(), row.plural);
        let kind = json!({"group": row.group, "version": row.version, "kind": row.kind});
        let any = Message::default().with(2, kind.to_string().as_bytes());
        let extension =
            Message::default().with(1, b"x-kubernetes-group-version-kind").with(2, &any.0);
        let mut patch = Message::default();
        for name in ["dryRun", "fieldManager", "fieldValidation", "force"] {
            let query = Message::default().with(2, b"query").with(4, name.as_bytes());
            let plain = Message::default().with(3, &query.0);
            let parameter = Message::default().with(2, &plain.0);
            patch = patch.with(8, &Message::default().with(1, &parameter.0).0);
        }
        let item = Message::default().with(8, &patch.with(13, &extension.0).0);
        let named = Message::default().with(1, path.as_bytes()).with(2, &item.0);
        paths = paths.with(2, &named.0);
    }
    let info = Message::default().with(1, b"Kubernetes").with(2, b"v1.36.2");
    let document = Message::default().with(1, b"2.0").with(2, &info.0).with(8, &paths.0);
    Bytes::from(document.0)
}
