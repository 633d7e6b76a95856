//! What a request does: one file for each group of verbs, over the same [`Call`].

pub(crate) mod charge;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod fields;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod pods;
pub(crate) mod remove;
pub(crate) mod scale;
pub(crate) mod services;
pub(crate) mod shelf;
pub(crate) mod token;
pub(crate) mod update;
pub(crate) mod watch;

use crate::admit::{self, Context, Strategy, admission, endpoints};
use crate::authorize::{self, review::Judges};
use crate::decode::options::{ListOptions, Query, WriteOptions};
use crate::decode::{self, Media, Wanted};
use crate::encode::negotiate::{self, Form, View};
use crate::encode::table::Include;
use crate::encode::warning::Warnings;
use crate::encode::{self, Reply, Source};
use crate::identity::Identity;
use crate::route::Target;
use crate::server::{Answer, Inner};
use api::{Resource, Status};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use std::sync::Arc;

/// Longest name of a field manager taken from a `User-Agent`, bytes; the same bound as `fieldManager`'s.
const MANAGER_BYTES_MAX: usize = decode::options::FIELD_MANAGER_BYTES_MAX;

/// One request for a resource, routed and allowed.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) server: Arc<Inner>,
    pub(crate) identity: Identity,
    pub(crate) target: Target,
    pub(crate) row: &'static Resource,
    pub(crate) strategy: &'static dyn Strategy,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) form: Form,
    pub(crate) include: Include,
    pub(crate) now: jiff::Timestamp,
    pub(crate) warnings: Arc<Warnings>,
}

impl Call {
    /// Name in the path.
    pub(crate) fn name(&self) -> &str {
        &self.target.name
    }

    /// Namespace in the path, empty for cluster-scoped kinds and all namespaces.
    pub(crate) fn namespace(&self) -> &str {
        &self.target.namespace
    }

    pub(crate) fn subresource(&self) -> &str {
        &self.target.attributes.subresource
    }

    /// Tells the caller something beside the answer, whatever that will be.
    pub(crate) fn warn(&self, texts: impl IntoIterator<Item = String>) {
        self.warnings.add(texts);
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context { identity: &self.identity, now: self.now, subresource: self.subresource() }
    }

    /// What admission is told.
    pub(crate) fn admission<'a>(
        &'a self,
        operation: admission::Operation,
        name: &'a str,
        old: Option<&'a serde_json::Value>,
    ) -> admission::Attributes<'a> {
        admission::Attributes {
            operation,
            resource: self.row,
            subresource: self.subresource(),
            namespace: self.namespace(),
            name,
            identity: &self.identity,
            old,
            suffix: "",
        }
    }

    /// How answers are encoded.
    pub(crate) fn source(&self) -> Source {
        Source {
            row: self.row,
            strategy: self.strategy,
            form: self.form,
            include: self.include,
            now: self.now,
        }
    }

    /// Who owns the fields this request sets: `fieldManager`, or the beginning of the `User-Agent`.
    pub(crate) fn manager(&self, options: &WriteOptions) -> String {
        if !options.field_manager.is_empty() {
            return options.field_manager.clone();
        }
        let agent = self.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let name = agent.unwrap_or_default().split('/').next().unwrap_or_default();
        let name = if name.is_empty() { "unknown" } else { name };
        name.chars().filter(|letter| !letter.is_control()).take(MANAGER_BYTES_MAX).collect()
    }

    pub(crate) fn content_type(&self) -> Option<&str> {
        self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    }

    /// The media type of the body, then the body.
    pub(crate) async fn body(&self, body: Body) -> Result<(Bytes, Media), Status> {
        let media = decode::media(self.content_type())?;
        Ok((decode::body(body).await?, media))
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(self.row.group, self.row.plural, self.name())
    }

    /// Whether the subresource asked for (empty: the resource itself) knows a verb.
    fn allows(&self, verb: &str) -> Option<bool> {
        match self.subresource() {
            "" => Some(self.row.verbs.contains(&verb)),
            name => {
                let found = self.row.subresources.iter().find(|sub| sub.name == name);
                found.map(|sub| sub.verbs.contains(&verb))
            }
        }
    }

    /// Whether a subresource is a view of the object itself, as `status` is and `scale` is not.
    fn shares_kind(&self, subresource: &str) -> bool {
        self.row.subresource(subresource).is_some_and(|sub| sub.kind == self.row.kind)
            && !matches!(subresource, "log" | "exec" | "attach" | "portforward" | "proxy")
    }

    /// Checks that the path and the method fit the resource: 404 for paths that are not there, 405 for methods
    /// that a path does not take.
    pub(crate) fn check(&self, method: &http::Method) -> Result<(), Status> {
        let named = !self.name().is_empty();
        let verb = self.target.attributes.verb.as_ref();
        let in_namespace = !self.namespace().is_empty();
        let misplaced = (named && self.row.namespaced != in_namespace)
            || (in_namespace && !self.row.namespaced);
        let nameless_kind = named
            && self.subresource().is_empty()
            && !["get", "delete", "update", "patch"]
                .iter()
                .any(|verb| self.row.verbs.contains(verb));
        if misplaced || nameless_kind || !self.target.rest.is_empty() {
            return Err(no_such_path());
        }
        let known = self.allows(verb).ok_or_else(no_such_path)?;
        let everywhere = self.row.namespaced && !in_namespace && !named;
        let fits = match (method.as_str(), named) {
            ("GET", _) | ("DELETE", true) => true,
            ("POST" | "DELETE", false) => !everywhere,
            ("POST", true) => !self.subresource().is_empty(),
            ("PUT" | "PATCH", named) => named,
            _ => false,
        };
        if known && fits { Ok(()) } else { Err(method_not_allowed()) }
    }
}

/// Does what was asked.
pub(crate) async fn run(
    mut call: Call,
    method: &http::Method,
    body: Body,
) -> Result<Answer, Status> {
    let subresource = call.subresource().to_owned();
    if (call.row.group, call.row.kind) == ("", "Endpoints") {
        call.warn([endpoints::DEPRECATED.to_owned()]);
    }
    call.warn(call.strategy.standing_warning());
    let reply = match (method.as_str(), subresource.as_str()) {
        ("GET", "") if call.name().is_empty() || call.target.legacy_watch => {
            let watch = call.target.attributes.verb == "watch";
            let options = ListOptions::read(&call.query, watch)?;
            if watch {
                return watch::watch(&call, &options);
            }
            list::list(&call, &options).await
        }
        ("POST", "") if !call.row.is_stored() && call.row.plural != "bindings" => {
            review(&call, body).await
        }
        ("POST", "") if call.row.plural == "bindings" => pods::bind(&mut call, body).await,
        ("POST", "") => create::create(&call, body).await,
        ("POST", "binding") => pods::bind(&mut call, body).await,
        ("POST", "eviction") => pods::evict(&call, body).await,
        ("POST", "token") => token::request(&call, body).await,
        ("DELETE", "") if call.name().is_empty() => remove::collection(&call, body).await,
        ("DELETE", "") => remove::one(&call, body).await,
        ("GET", "scale") => scale::get(&call),
        ("PUT", "scale") => scale::put(&call, body).await,
        ("PATCH", "scale") => scale::patch(&call, body).await,
        (_, name) if !name.is_empty() && !call.shares_kind(name) => Err(not_yet(&call, name)),
        ("GET", _) => list::get(&call).await,
        ("PUT", _) => update::put(&call, body).await,
        ("PATCH", _) => patch::patch(&call, body).await,
        _ => Err(method_not_allowed()),
    };
    reply.map(Answer::Whole)
}

/// Answers a review: it is judged and never stored.
async fn review(call: &Call, body: Body) -> Result<Reply, Status> {
    if call.form.view != View::Whole {
        return Err(negotiate::nothing_fits());
    }
    let (body, media) = call.body(body).await?;
    let options = WriteOptions::read(&call.query, "CreateOptions")?;
    let decoded = decode::object(&body, media, Wanted::of(call.row), options.validation)?;
    call.warn(decoded.warnings);
    let mut object = decoded.object;
    // Who sends protobuf also sends what is not set.
    admit::omit_empty(call.row, &mut object);
    create::settle_namespace(call, &mut object)?;
    fields::created(call, &mut object, &call.manager(&options));
    let server = &call.server;
    let judges = Judges { authorizer: &server.authorizer, authenticator: &server.authenticator };
    authorize::review(judges, &call.identity, call.namespace(), &mut object, call.now)?;
    call.source().object(201, &encode::object_bytes(&object).into())
}

/// 501: a path that Kubernetes has and we do not serve yet; 404 when not even the object is there.
fn not_yet(call: &Call, subresource: &str) -> Status {
    if shelf::find(&call.server.records, call.row, call.namespace(), call.name()).is_none() {
        return call.not_found();
    }
    Status::failure(
        501,
        "NotImplemented",
        format!("the subresource {subresource:?} is not served yet"),
    )
}

/// 404 for a path under a served group that leads nowhere.
pub(crate) fn no_such_path() -> Status {
    Status::failure(404, "NotFound", "the server could not find the requested resource")
        .with_details(api::status::Details::default())
}

/// 405.
pub(crate) fn method_not_allowed() -> Status {
    Status::failure(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
    .with_details(api::status::Details::default())
}
