//! The OpenAPI document against what there is: the router, the codes, and every answer that the tests of this floor get.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::control::dashboard::PAGES;
use crate::control::dashboard::snapshot::ENTRIES_MAX;
use crate::control::openapi::DOCUMENT;
use crate::control::stream_series::STREAMS_ASKED_MAX;
use crate::runtime::DRAIN_DEADLINE_MAX;

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// Fails unless the document has this answer: its path, method and status, and no field less or more.
#[track_caller]
pub(super) fn assert_documented(method: &str, path: &str, status: u16, answer: &Value) {
    let document = document();
    let path = path.split('?').next().unwrap();
    let template = match path.rsplit_once('/') {
        _ if path.starts_with("/api/v1/streams/") => "/api/v1/streams/{path}",
        Some(("/api/v1/connections", _)) => "/api/v1/connections/{id}",
        _ => path,
    };
    let operation = &document["paths"][template][method.to_lowercase()];
    let mut response = &operation["responses"][status.to_string()];
    if let Some(reference) = response["$ref"].as_str() {
        response = document.pointer(&reference[1..]).unwrap();
    }
    // What there is not is refused in the shape of all refusals.
    let is_unknown = operation.is_null() && (status == 404 || status == 405);
    let schema = if is_unknown {
        json!({"$ref": "#/components/schemas/Error"})
    } else {
        response["content"]["application/json"]["schema"].clone()
    };
    assert!(schema.is_object(), "{method} {path}: the document has no {status}");
    assert_fits(&document, schema, answer);
}

/// Fails unless the answer is as this schema of the document says.
#[track_caller]
pub(super) fn assert_is_one(schema: &str, answer: &Value) {
    assert_fits(&document(), json!({"$ref": format!("#/components/schemas/{schema}")}), answer);
}

#[track_caller]
fn assert_fits(document: &Value, mut schema: Value, answer: &Value) {
    let mut components = document["components"].clone();
    close(&mut components);
    schema["components"] = components;
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?} in {answer:#}");
}

/// No fields but those that are named. Clients have to expect others, so that the document itself does not say so.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

/// Methods by path, as the document has them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let document = document();
    let paths = document["paths"].as_object().unwrap().iter();
    paths.map(|(path, it)| (path.clone(), it.as_object().unwrap().keys().cloned().collect())).collect()
}

/// Methods by path, as the router's source has them: a router cannot be asked.
fn routed() -> BTreeMap<String, BTreeSet<String>> {
    let (_, function) = include_str!("../router.rs").split_once("fn router<").unwrap();
    let mut routes: BTreeMap<_, _> =
        PAGES.iter().map(|page| ((*page).to_owned(), ["get".to_owned()].into())).collect();
    for statement in function.split(';') {
        let prefix = if statement.contains("let api =") { "/api/v1" } else { "" };
        for call in statement.split(".route(").skip(1) {
            // The dashboard's pages come from a list.
            let Some((path, handlers)) =
                call.trim_start().strip_prefix('"').and_then(|it| it.split_once('"'))
            else {
                continue;
            };
            let methods = ["get", "post", "put", "patch", "delete"];
            let methods = methods
                .into_iter()
                .filter(|method| handlers.contains(&format!("{method}(")))
                .map(str::to_owned);
            routes.insert(format!("{prefix}{}", path.replace("{*", "{")), methods.collect());
        }
    }
    routes
}

#[test]
fn the_document_and_the_router_name_the_same_paths_and_methods() {
    let routed = routed();
    assert!(routed.len() > 10, "{routed:?}");
    assert_eq!(documented(), routed);
}

/// What is in the document is there for whoever asks, and what is not is refused: the router itself says so.
#[test]
fn the_router_knows_the_documents_paths_and_methods_and_no_others() {
    let (server, _engine) = serve();
    for (path, methods) in documented() {
        let path = path.replace("{path}", "none/none").replace("{id}", "none");
        for method in ["get", "post", "put", "patch", "delete"] {
            // The one answer without an end; another test listens to it.
            if path.ends_with("/events") && method == "get" {
                continue;
            }
            let (status, _, body) =
                request(server.address(), &format!("{} {path}", method.to_uppercase()), "");
            let is_unknown =
                body.contains("\"code\":\"no_route\"") || body.contains("\"code\":\"no_method\"");
            assert_eq!(!is_unknown, methods.contains(method), "{method} {path}: {status} {body}");
        }
    }
}

#[test]
fn the_document_is_openapi_of_this_version() {
    let parsed = oas3::from_json(DOCUMENT).unwrap();
    assert_eq!((&*parsed.openapi, &*parsed.info.version), ("3.1.0", env!("CARGO_PKG_VERSION")));
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut references = Vec::new();
    find(&document, "$ref", &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("inside the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut ids = Vec::new();
    find(&document["paths"], "operationId", &mut ids);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each once: {ids:?}");
    // The parameters of a path are those that stand in it.
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let declared = operation["parameters"].as_array().into_iter().flatten();
            let declared: Vec<_> = declared.filter(|it| it["in"] == "path").map(|it| &it["name"]).collect();
            let stands = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            assert_eq!(declared, stands.collect::<Vec<_>>(), "{path}");
        }
    }
    // Every field that an answer must have is described.
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for field in schema["required"].as_array().into_iter().flatten() {
            assert!(schema["properties"][field.as_str().unwrap()].is_object(), "{name}: {field}");
        }
    }
}

fn find(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.extend(value.as_str().map(str::to_owned));
                }
                find(value, key, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| find(value, key, found)),
        _ => {}
    }
}

/// The values that this place in the document allows.
fn allowed(document: &Value, pointer: &str) -> BTreeSet<String> {
    let values = document.pointer(pointer).and_then(Value::as_array).expect(pointer);
    values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_document_names_every_code_and_state_and_the_bounds_that_hold() {
    let document = document();
    // Every code that a refusal can have, as the source has them.
    let mut said = BTreeSet::new();
    for part in include_str!("../refusal.rs").split("StatusCode::").skip(1) {
        let code = part.split_once(", \"").and_then(|(_, rest)| rest.split('"').next());
        let is_code = |code: &&str| code.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
        said.extend(code.filter(is_code).map(str::to_owned));
    }
    assert_eq!(allowed(&document, "/components/schemas/Error/properties/error/properties/code/enum"), said);
    let codes = Code::ALL.iter().map(|code| code.label().to_owned()).collect();
    assert_eq!(allowed(&document, "/components/schemas/Health/properties/code/enum"), codes);
    let states: BTreeSet<_> = LifeState::ALL.iter().map(|state| state.label().to_owned()).collect();
    for list in ["Forward", "Pull"] {
        assert_eq!(
            allowed(&document, &format!("/components/schemas/{list}/properties/state/enum")),
            states,
            "{list}"
        );
    }
    let schemas = &document["components"]["schemas"];
    for list in ["streams", "forwards", "pulls"] {
        assert_eq!(schemas["Snapshot"]["properties"][list]["maxItems"], ENTRIES_MAX, "{list}");
    }
    let deadline = &schemas["DrainRequest"]["properties"]["deadline_seconds"]["maximum"];
    assert_eq!(*deadline, DRAIN_DEADLINE_MAX.as_secs());
    let asked = &document["paths"]["/metrics"]["get"]["parameters"][0]["schema"]["maxItems"];
    assert_eq!(*asked, STREAMS_ASKED_MAX);
}

#[test]
fn an_answer_with_a_field_less_or_more_is_seen() {
    let fits = |answer: Value| std::panic::catch_unwind(|| assert_is_one("Reloaded", &answer)).is_ok();
    assert!(fits(json!({"changed": ["a"], "needs_restart": []})));
    assert!(!fits(json!({"changed": ["a"]})));
    assert!(!fits(json!({"changed": [1], "needs_restart": []})));
    assert!(!fits(json!({"changed": [], "needs_restart": [], "more": 1})));
    let answer = |path: &str, status| {
        std::panic::catch_unwind(|| {
            assert_documented("GET", path, status, &json!({"error": {"code": "not_found", "message": ""}}));
        })
    };
    assert!(answer("/api/v1/streams/a/b", 404).is_ok() && answer("/nothing", 404).is_ok());
    assert!(answer("/api/v1/streams", 404).is_err() && answer("/nothing", 200).is_err());
}
