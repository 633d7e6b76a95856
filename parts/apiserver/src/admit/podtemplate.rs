//! PodTemplates: a template on its own.

use super::faults::Faults;
use super::json::Json;
use super::{Column, Context, Strategy, pod, table, template};
use api::Path;
use serde_json::Value;

/// The strategy.
#[derive(Debug)]
pub(crate) struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        template::fill(object);
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/template"]
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        template::validate(object.at("template"), &Path::new("template"))
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let generation = |of: &Value| of.at("metadata").int("generation");
        if old.is_some_and(|old| generation(old) == generation(object)) {
            return Vec::new();
        }
        pod::warnings::of_template(object.at("template"), &Path::new("template"))
    }

    fn delete_answers_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        let [names, images] = template::container_cells(object);
        let labels = table::labels(object.at("template").at("metadata").at("labels"));
        vec![table::name(object), names, images, labels]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Containers", "string", "Names of the template's containers."),
    table::column("Images", "string", "Images of the template's containers."),
    table::column("Pod Labels", "string", "Labels of pods made from it."),
];
