//! PATCH in its four kinds.

use super::update;
use super::{Call, create, fields, shelf};
use crate::admit::metadata;
use crate::decode::node::Node;
use crate::decode::options::{FieldValidation, WriteOptions};
use crate::decode::{self, Decoded, Wanted};
use crate::encode::Reply;
use crate::merge::{self, Touched};
use api::status::Details;
use api::{Resource, Status, schema};
use axum::body::Body;
use serde_json::{Map, Value, json};

/// Where an object says who owns its fields.
const OWNERS: &str = "/metadata/managedFields";

/// The kinds of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

pub(crate) fn kind(content_type: Option<&str>) -> Result<Kind, Status> {
    match decode::essence(content_type) {
        "application/json-patch+json" => Ok(Kind::Json),
        "application/merge-patch+json" => Ok(Kind::Merge),
        "application/strategic-merge-patch+json" => Ok(Kind::Strategic),
        "application/apply-patch+yaml" => Ok(Kind::Apply),
        _ => Err(Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            .with_details(Details::default())),
    }
}

/// The kind of patch that is sent to a resource; custom ones know no strategic merge.
pub(crate) fn kind_for(call: &Call) -> Result<Kind, Status> {
    let found = kind(call.content_type());
    if call.row.custom.is_none() || found.as_ref().is_ok_and(|kind| *kind != Kind::Strategic) {
        return found;
    }
    Err(Status::failure(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    ))
}

/// A patch that is no apply, read, and what a strict reader says of it.
#[derive(Debug)]
pub(crate) struct Patch {
    kind: Kind,
    patch: Value,
    told: Vec<String>,
    touched: Touched,
}

impl Patch {
    pub(crate) fn read(kind: Kind, body: &[u8]) -> Result<Self, Status> {
        let read = match kind {
            Kind::Json => decode::json_patch(body),
            _ => decode::merge_patch(body),
        };
        let Decoded { object: patch, warnings: told } = read.map_err(|why| match kind {
            Kind::Strategic => Status::bad_request(why),
            _ => Status::bad_request(format!("error decoding patch: {why}")),
        })?;
        let patch = if patch.is_null() && kind != Kind::Json { json!({}) } else { patch };
        let touched = match kind {
            Kind::Json => Touched::by_operations(&patch),
            _ => Touched::by_merge(&patch),
        };
        Ok(Self { kind, patch, told, touched })
    }

    /// The object after the patch, of its type, which is that of `row`.
    pub(crate) fn apply(
        &self,
        row: &'static Resource,
        old: &Value,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let Some(owners) = old.pointer(OWNERS).filter(|_| self.leaves_owners()) else {
            return self.merged(row, old, validation);
        };
        // Half of many an object; it is of the right form already. What goes wrong is told with the whole object.
        let Ok(mut decoded) = self.merged(row, &without_owners(old), validation) else {
            return self.merged(row, old, validation);
        };
        if let Some(meta) = decoded.object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.insert("managedFields".into(), owners.clone());
        }
        Ok(decoded)
    }

    /// Whether it cannot touch, nor see, who owns which fields.
    fn leaves_owners(&self) -> bool {
        let plain = |fields: &Map<String, Value>| !fields.keys().any(|key| key.starts_with('$'));
        let meta = |meta: &Value| {
            meta.as_object().is_some_and(|meta| plain(meta) && !meta.contains_key("managedFields"))
        };
        match self.kind {
            Kind::Json => self.patch.as_array().is_some_and(|all| all.iter().all(is_elsewhere)),
            _ => {
                self.patch.as_object().is_some_and(plain)
                    && self.patch.get("metadata").is_none_or(meta)
            }
        }
    }

    fn merged(
        &self,
        row: &'static Resource,
        old: &Value,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let shape = schema::of(row).ok_or_else(|| Status::internal("the resource has no type"))?;
        let (patched, quoted) = match self.kind {
            Kind::Json => (merge::json_patch(old, &self.patch)?, None),
            Kind::Merge => (merge::merge_patch(old, &self.patch), None),
            Kind::Strategic | Kind::Apply => {
                let (mut patched, rest) = merge::strategic(old, &self.patch, shape)?;
                // Upstream goes by the type it expects here, whatever the patch says it is.
                if let Some(fields) = patched.as_object_mut() {
                    fields.insert("kind".into(), row.kind.into());
                    fields.insert("apiVersion".into(), row.api_version().into());
                }
                (patched, Some(merge::shown(&rest)))
            }
        };
        // Custom objects are held as maps, whose keys are quoted in their order.
        let node = match row.custom {
            Some(_) => Node::from(&patched),
            None => self.touched.ordered(&patched, shape),
        };
        let patched = decode::Patched { node: &node, quoted, told: self.told.clone() };
        decode::patched(patched, Wanted::of(row), validation)
    }
}

/// Whether an operation reads and writes nothing of the owners, nor what they are part of.
fn is_elsewhere(operation: &Value) -> bool {
    ["path", "from"].iter().filter_map(|key| operation.get(key)).all(|place| {
        place.as_str().is_some_and(|place| {
            !matches!(place, "" | "/metadata") && !place.starts_with("/metadata/managedFields")
        })
    })
}

/// A copy of an object that does not say who owns its fields.
fn without_owners(object: &Value) -> Value {
    let copy = |fields: &Map<String, Value>, change: &dyn Fn(&str, &Value) -> Option<Value>| {
        let kept =
            fields.iter().filter_map(|(key, value)| Some((key.clone(), change(key, value)?)));
        kept.collect::<Map<_, _>>()
    };
    let of_meta = |key: &str, value: &Value| (key != "managedFields").then(|| value.clone());
    let of_object = |key: &str, value: &Value| match (key, value) {
        ("metadata", Value::Object(meta)) => Some(Value::Object(copy(meta, &of_meta))),
        _ => Some(value.clone()),
    };
    match object {
        Value::Object(fields) => copy(fields, &of_object).into(),
        other => other.clone(),
    }
}

/// Answers a PATCH.
pub(crate) async fn patch(call: &Call, body: Body) -> Result<Reply, Status> {
    let kind = kind_for(call)?;
    let body = decode::body(body).await?;
    let options = WriteOptions::patch(&call.query, kind == Kind::Apply)?;
    if kind == Kind::Apply {
        return apply(call, &body, &options).await;
    }
    let patch = Patch::read(kind, &body)?;
    let manager = call.manager(&options);
    let written = update::rewrite(call, &options, |old| {
        let decoded = patch.apply(call.row, old, options.validation)?;
        call.warn(decoded.warnings);
        let mut object = decoded.object;
        call.strategy.convert(&object)?;
        call.strategy.default(&mut object);
        update::settle_place(call, &mut object)?;
        fields::updated(call, old, &mut object, &manager);
        call.warn(metadata::owners_once(&mut object, true));
        Ok(object)
    })
    .await?;
    call.source().object(200, &written)
}

/// Server-side apply: creates what is missing.
async fn apply(call: &Call, body: &[u8], options: &WriteOptions) -> Result<Reply, Status> {
    let Decoded { object: applied, warnings: twice } = decode::applied(body, options.validation)?;
    call.warn(twice);
    fields::check_applied(call, &applied)?;
    let there =
        shelf::find(&call.server.records, call.row, call.namespace(), call.name()).is_some();
    if !there && !call.subresource().is_empty() {
        return Err(call.not_found());
    }
    if !there {
        update::authorize_create(call)?;
        let mut object = fields::apply(call, None, &applied, options)?;
        call.strategy.convert(&object)?;
        let uid = create::text(&object, "uid");
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Status::conflict(call.row.group, call.row.plural, call.name(), &why));
        }
        update::settle_place(call, &mut object)?;
        create::fill_system_fields(call, &mut object);
        let bytes = create::store_new(call, object, options, "").await?;
        return call.source().object(201, &bytes);
    }
    let written = update::rewrite(call, options, |old| {
        let mut object = fields::apply(call, Some(old), &applied, options)?;
        call.strategy.convert(&object)?;
        update::settle_place(call, &mut object)?;
        Ok(object)
    })
    .await?;
    call.source().object(200, &written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_leaves_owners_alone_does_the_same_without_reading_them() {
        let row = api::resource::by_plural("", "v1", "pods").expect("pods are served");
        let old = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": {"a": "b"}, "managedFields": [
                {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                 "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}}]},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        let by = |op: &str, path: &str, rest: Value| {
            let mut operation = json!({"op": op, "path": path});
            operation
                .as_object_mut()
                .expect("an object")
                .extend(rest.as_object().cloned().expect("an object"));
            json!([operation])
        };
        for (kind, patch, leaves) in [
            (Kind::Strategic, json!({"status": {"phase": "Running"}}), true),
            (Kind::Strategic, json!({"metadata": {"labels": {"a": null, "c": "d"}}}), true),
            (Kind::Strategic, json!({"metadata": {"$patch": "replace", "name": "q"}}), false),
            (Kind::Strategic, json!({"metadata": {"managedFields": [{}]}}), false),
            (Kind::Strategic, json!({"metadata": null}), false),
            (
                Kind::Strategic,
                json!({"$retainKeys": ["metadata"], "metadata": {"name": "q"}}),
                false,
            ),
            (Kind::Merge, json!({"metadata": {"labels": {"a": null, "c": "d"}}}), true),
            (Kind::Merge, json!({"metadata": {"labels": 3}}), true),
            (Kind::Merge, json!({"metadata": {"managedFields": null}}), false),
            (Kind::Merge, json!({"metadata": null}), false),
            (Kind::Json, by("add", "/metadata/labels/c", json!({"value": "d"})), true),
            (Kind::Json, by("replace", "/spec/containers", json!({"value": 3})), true),
            (
                Kind::Json,
                by(
                    "copy",
                    "/metadata/labels/c",
                    json!({"from": "/metadata/managedFields/0/manager"}),
                ),
                false,
            ),
            (
                Kind::Json,
                by("test", "/metadata/managedFields/0/manager", json!({"value": "m"})),
                false,
            ),
            (Kind::Json, by("remove", "/metadata", json!({})), false),
            (Kind::Json, by("replace", "", json!({"value": {}})), false),
        ] {
            let read = Patch::read(kind, patch.to_string().as_bytes()).expect("a patch");
            assert_eq!(read.leaves_owners(), leaves, "{patch}");
            let shown = |outcome: Result<Decoded, Status>| match outcome {
                Ok(decoded) => (decoded.object, decoded.warnings),
                Err(refused) => (json!(refused.message), Vec::new()),
            };
            let short = shown(read.apply(row, &old, FieldValidation::Strict));
            assert_eq!(short, shown(read.merged(row, &old, FieldValidation::Strict)), "{patch}");
        }
    }
}
