//! A body of a custom kind: metadata as every object has it, the rest by the schema.

use super::Kind;
use super::prune::prune;
use crate::decode::node::Node;
use crate::decode::strict::{self, Typed};
use serde_json::{Map, Value};

/// Reads a document. Kind and version stay as they are written: validation judges them.
pub(crate) fn object(kind: &Kind, node: &Node) -> Result<Typed, String> {
    let Node::Object(fields) = node else {
        return Ok(Typed { object: Value::Object(Map::new()), faults: Vec::new() });
    };
    let rest: Vec<(String, Node)> =
        fields.iter().filter(|(name, _)| name != "metadata").cloned().collect();
    let Typed { mut object, mut faults } = strict::object(&Node::Object(rest), "")?;
    let metas: Vec<&Node> =
        fields.iter().filter(|(name, _)| name == "metadata").map(|(_, node)| node).collect();
    if metas.len() > 1 {
        faults.push("duplicate field \"metadata\"".to_owned());
    }
    if let Some(metadata) = metas.last() {
        let whole = Node::Object(vec![("metadata".to_owned(), (*metadata).clone())]);
        let read = strict::object(&whole, crate::admit::ANY_OBJECT)?;
        faults.extend(read.faults);
        if let (Some(fields), Some(metadata)) =
            (object.as_object_mut(), read.object.get("metadata"))
        {
            fields.insert("metadata".to_owned(), metadata.clone());
        }
    }
    let gone = prune(&mut object, &kind.schema, true);
    faults.extend(gone.into_iter().map(|path| format!("unknown field \"{path}\"")));
    Ok(Typed { object, faults })
}
