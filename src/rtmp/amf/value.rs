//! One AMF value as an owned tree.

use alloc::string::String;
use alloc::vec::Vec;

/// A value of either AMF version. Properties keep the order they were sent in, duplicates included.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Number (AMF0 §2.2), double (AMF3 §3.7).
    Number(f64),
    /// Boolean.
    Boolean(bool),
    /// String, long string; UTF-8, repaired where the peer's was not.
    String(String),
    /// Anonymous object.
    Object(Vec<(String, Value)>),
    /// null.
    Null,
    /// undefined.
    Undefined,
    /// Array with names (AMF0 §2.10). An AMF3 array with both parts has its dense part last, named "0", "1" and so on.
    EcmaArray(Vec<(String, Value)>),
    /// Array without names (AMF0 §2.12), dense array (AMF3 §3.11).
    StrictArray(Vec<Value>),
    /// Date.
    Date {
        /// Milliseconds since 1970-01-01 UTC.
        ms: f64,
        /// Reserved (AMF0 §2.13), 0 as a rule; AMF3 has none.
        time_zone: i16,
    },
    /// XMLDocument (AMF0 §2.17, AMF3 §3.9): the text, unparsed.
    XmlDocument(String),
    /// Object of a named class.
    TypedObject {
        /// The class's alias.
        class: String,
        /// Its members; AMF3 sends sealed ones first, then dynamic ones.
        properties: Vec<(String, Value)>,
    },
    /// What the sender could not express (AMF0 §2.15).
    Unsupported,
    /// AMF3 integer (§3.6), 29 bits with sign; beyond that it is written as a double.
    Integer(i32),
    /// AMF3 XML (§3.13): the text, unparsed.
    Xml(String),
    /// AMF3 ByteArray (§3.14).
    ByteArray(Vec<u8>),
    /// AMF3 `Vector.<int>` (§3.15).
    VectorInt {
        /// Whether its length is fixed.
        fixed: bool,
        /// The items.
        items: Vec<i32>,
    },
    /// AMF3 `Vector.<uint>` (§3.15).
    VectorUint {
        /// Whether its length is fixed.
        fixed: bool,
        /// The items.
        items: Vec<u32>,
    },
    /// AMF3 `Vector.<Number>` (§3.15).
    VectorDouble {
        /// Whether its length is fixed.
        fixed: bool,
        /// The items.
        items: Vec<f64>,
    },
    /// AMF3 `Vector` of any other type (§3.15).
    VectorObject {
        /// Whether its length is fixed.
        fixed: bool,
        /// The items' type, `*` for any.
        class: String,
        /// The items.
        items: Vec<Value>,
    },
    /// AMF3 Dictionary (§3.16).
    Dictionary {
        /// Whether its keys are held weakly.
        weak_keys: bool,
        /// Keys and values.
        entries: Vec<(Value, Value)>,
    },
}

impl Value {
    /// An object from its properties.
    pub fn object<const N: usize>(properties: [(&str, Value); N]) -> Self {
        Self::Object(named(properties))
    }

    /// An ECMA array from its properties.
    pub fn ecma_array<const N: usize>(properties: [(&str, Value); N]) -> Self {
        Self::EcmaArray(named(properties))
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, whichever way it was encoded.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Integer(number) => Some(f64::from(*number)),
            _ => None,
        }
    }

    /// The truth value of a boolean; numbers are not converted.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    /// Whether there is nothing here: null or undefined.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null | Self::Undefined)
    }

    /// The properties of an object, ECMA array or typed object, in the order sent.
    pub fn properties(&self) -> Option<&[(String, Value)]> {
        match self {
            Self::Object(properties) | Self::EcmaArray(properties) | Self::TypedObject { properties, .. } => {
                Some(properties)
            }
            _ => None,
        }
    }

    /// The property of that name; the last one if it was sent twice, as an assignment would have it.
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.properties()?.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

fn named<const N: usize>(properties: [(&str, Value); N]) -> Vec<(String, Value)> {
    properties.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_found_in_everything_that_has_names_and_nowhere_else() {
        let properties = || alloc::vec![("width".into(), Value::from(1920.0))];
        for value in [
            Value::Object(properties()),
            Value::EcmaArray(properties()),
            Value::TypedObject { class: "Size".into(), properties: properties() },
        ] {
            assert_eq!(value.property("width").and_then(Value::as_f64), Some(1920.0));
            assert_eq!(value.property("Width"), None);
        }
        assert_eq!(Value::from("width").property("width"), None);
    }

    #[test]
    fn of_a_repeated_property_the_last_one_counts() {
        let value = Value::object([("a", 1.0.into()), ("a", 2.0.into())]);
        assert_eq!(value.property("a"), Some(&Value::Number(2.0)));
    }

    #[test]
    fn an_integer_is_a_number_too_but_a_number_is_no_boolean() {
        assert_eq!(Value::Integer(-7).as_f64(), Some(-7.0));
        assert_eq!(Value::Number(1.0).as_bool(), None);
    }
}
