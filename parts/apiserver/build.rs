//! Makes `$OUT_DIR/descriptions.z`: what the Kubernetes types say of themselves and of their fields, for
//! `kubectl explain`. Taken from the types of k8s-openapi, which know it as JSON schemas, while we are built:
//! the server itself carries a fifth of a megabyte, compressed, and unpacks it only when a document is made.

use flate2::{Compression, write::ZlibEncoder};
use k8s_openapi::api::{
    apps, authentication, authorization, autoscaling, certificates, coordination, core, discovery,
    events, networking, node, policy, rbac, scheduling, storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta, util::intstr};
use schemars::SchemaGenerator;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Write as _;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Texts by field, the type's own under the empty name.
type Texts = BTreeMap<String, String>;

/// Lets the generator take in types with all that they reach.
macro_rules! take_in {
    ($generator:ident: $($kind:ty),+ $(,)?) => {
        $(let _reference = $generator.subschema_for::<$kind>();)+
    };
}

fn main() -> Outcome<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let mut generator = SchemaGenerator::default();
    take_in_all(&mut generator);
    let found: BTreeMap<String, Texts> = generator
        .take_definitions(true)
        .into_iter()
        .map(|(name, schema)| (name, texts(&schema)))
        .collect();
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&serde_json::to_vec(&found)?)?;
    let folder = std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    std::fs::write(std::path::Path::new(&folder).join("descriptions.z"), packed.finish()?)?;
    Ok(())
}

/// Every kind of the table of resources, and what bodies and answers have beside them. A test of the server says
/// which is missing here.
fn take_in_all(generator: &mut SchemaGenerator) {
    take_in!(generator:
        core::v1::Binding, core::v1::ConfigMap, core::v1::Endpoints, core::v1::Event, core::v1::LimitRange, core::v1::Namespace,
        core::v1::Node, core::v1::PersistentVolume, core::v1::PersistentVolumeClaim, core::v1::Pod, core::v1::PodTemplate, core::v1::ReplicationController,
        core::v1::ResourceQuota, core::v1::Secret,
        core::v1::Service, core::v1::ServiceAccount,
        apps::v1::ControllerRevision, apps::v1::DaemonSet, apps::v1::Deployment, apps::v1::ReplicaSet,
        apps::v1::StatefulSet,
        authentication::v1::SelfSubjectReview, authentication::v1::TokenReview, authentication::v1::TokenRequest,
        authorization::v1::LocalSubjectAccessReview, authorization::v1::SelfSubjectAccessReview,
        authorization::v1::SelfSubjectRulesReview, authorization::v1::SubjectAccessReview,
        autoscaling::v1::Scale, certificates::v1::CertificateSigningRequest, coordination::v1::Lease,
        discovery::v1::EndpointSlice, events::v1::Event,
        networking::v1::Ingress, networking::v1::IngressClass, networking::v1::NetworkPolicy, node::v1::RuntimeClass,
        policy::v1::Eviction, policy::v1::PodDisruptionBudget,
        rbac::v1::ClusterRole, rbac::v1::ClusterRoleBinding, rbac::v1::Role, rbac::v1::RoleBinding,
        scheduling::v1::PriorityClass, storage::v1::CSIDriver, storage::v1::CSINode,
        storage::v1::CSIStorageCapacity, storage::v1::StorageClass, storage::v1::VolumeAttachment,
        apiextensions::v1::CustomResourceDefinition,
        meta::v1::DeleteOptions, meta::v1::ListMeta, meta::v1::MicroTime, meta::v1::ObjectMeta, meta::v1::Status,
        meta::v1::Time, Quantity, intstr::IntOrString,
    );
}

fn texts(schema: &Value) -> Texts {
    let none = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&none);
    let own = [(String::new(), schema)];
    let all = own.into_iter().chain(fields.iter().map(|(name, field)| (name.clone(), field)));
    all.filter_map(|(name, schema)| Some((name, schema["description"].as_str()?.to_owned())))
        .collect()
}
