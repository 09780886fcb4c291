//! The OpenAPI document of a running server, and its answers held against it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use super::PATIENCE;
use super::support::api::Response;

/// The document, with schemas that allow no field which they do not name: what it forgets is a mistake, though clients have to expect more.
pub struct Document(Value);

impl Document {
    pub fn new(mut document: Value) -> Self {
        close(&mut document["components"]);
        Self(document)
    }

    /// Paths of which there is a GET that needs nothing, and whose answer ends.
    pub fn paths_without_parameters(&self) -> Vec<String> {
        let paths = self.0["paths"].as_object().expect("paths").iter();
        let is_one = |(path, item): &(&String, &Value)| {
            item["get"].is_object() && !path.contains('{') && !path.ends_with("/events")
        };
        paths.filter(is_one).map(|(path, _)| path.clone()).collect()
    }

    /// All that it names, as `METHOD path`.
    pub fn operations(&self) -> BTreeSet<String> {
        let paths = self.0["paths"].as_object().expect("paths").iter();
        let of_path = |(path, item): (&String, &Value)| -> Vec<String> {
            let methods = item.as_object().expect("methods").keys();
            methods.map(|method| format!("{} {path}", method.to_uppercase())).collect()
        };
        paths.flat_map(of_path).collect()
    }

    /// Fails unless the answer has a status and a content type that the document has for it, and the shape of its schema.
    #[track_caller]
    pub fn hold(&self, answer: &Response, method: &str, template: &str) {
        let operation = &self.0["paths"][template][method.to_lowercase()];
        let mut response = &operation["responses"][answer.status.to_string()];
        if let Some(reference) = response["$ref"].as_str() {
            response = self.0.pointer(&reference[1..]).expect("a response");
        }
        assert!(response.is_object(), "{method} {template}: {} is not in the document", answer.status);
        let Some(kinds) = response["content"].as_object() else {
            assert_eq!(answer.body, "", "{method} {template}");
            return;
        };
        let head = answer.head.to_lowercase();
        let kind = kinds.iter().find(|(kind, _)| head.contains(&format!("\r\ncontent-type: {kind}")));
        let (kind, content) = kind.unwrap_or_else(|| panic!("{method} {template}: {head}"));
        if kind == "application/json" {
            self.hold_value(&content["schema"], &answer.json());
        }
    }

    /// Likewise for the first of the events.
    #[track_caller]
    pub fn hold_event(&self, address: SocketAddr) {
        let mut socket = TcpStream::connect(address).expect("the control HTTP");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // Of this version, so that nothing stands between the lines.
        write!(socket, "GET /api/v1/events HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("a request");
        let lines = BufReader::new(socket).lines().map(|line| line.expect("a line in time"));
        let data = lines.into_iter().find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
        let snapshot: Value = serde_json::from_str(&data.expect("an event")).expect("JSON");
        assert!(snapshot["streams"][0].is_object() && snapshot["pulls"][0].is_object(), "{snapshot:#}");
        let content = &self.0["paths"]["/api/v1/events"]["get"]["responses"]["200"]["content"];
        self.hold_value(&content["text/event-stream"]["x-event-data"], &snapshot);
    }

    #[track_caller]
    fn hold_value(&self, schema: &Value, value: &Value) {
        assert!(schema.is_object(), "a schema");
        let mut schema = schema.clone();
        schema["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).expect("a schema");
        let errors: Vec<_> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?} in {value:#}");
    }
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}
