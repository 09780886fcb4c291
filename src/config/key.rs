//! One key of the configuration: how its value is read from what was written, judged, stored and shown again.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// A value as somebody wrote it, before a key has judged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// A whole number.
    Integer(i128),
    /// `true` or `false`.
    Boolean(bool),
    /// A string; the only form that variables have, and flags with a value.
    Text(String),
    /// A list.
    List(Vec<Raw>),
    /// What no key takes: a float, a date, a table.
    Other(&'static str),
}

impl Raw {
    /// What it is, for error lines.
    fn describe(&self) -> String {
        match self {
            Self::Integer(value) => value.to_string(),
            Self::Boolean(value) => value.to_string(),
            Self::Text(value) => format!("{value:?}"),
            Self::List(_) => "a list".into(),
            Self::Other(what) => (*what).into(),
        }
    }
}

/// One key of a table: its name, what it is for, and the setting of `T` behind it.
///
/// A key is named as the field that it fills, with the unit at the end.
pub(super) struct Key<T> {
    pub(super) name: &'static str,
    /// One line for the sample file, without a full stop.
    pub(super) about: &'static str,
    pub(super) kind: Kind<T>,
}

/// The kinds of value, each with its two directions. A writer returns what is wrong, or nothing.
pub(super) enum Kind<T> {
    Integer {
        allowed: RangeInclusive<u64>,
        read: fn(&T) -> u64,
        write: fn(&mut T, u64),
    },
    Boolean {
        read: fn(&T) -> bool,
        write: fn(&mut T, bool),
    },
    Text {
        allowed: &'static str,
        read: fn(&T) -> String,
        write: fn(&mut T, &str) -> Result<(), String>,
    },
    /// A name, or a number in its place.
    NameOrNumber {
        allowed: &'static str,
        read: fn(&T) -> String,
        write: fn(&mut T, &str) -> Result<(), String>,
    },
    List {
        allowed: &'static str,
        read: fn(&T) -> Vec<String>,
        write: fn(&mut T, &[String]) -> Result<(), String>,
    },
}

impl<T> Key<T> {
    /// Stores `raw` in `target`, or says what is wrong with it.
    pub(super) fn store(&self, target: &mut T, raw: &Raw) -> Result<(), String> {
        match &self.kind {
            Kind::Integer { allowed, write, .. } => {
                let value = match raw {
                    Raw::Integer(value) => *value,
                    Raw::Text(text) => text
                        .trim()
                        .parse()
                        .map_err(|_| format!("{} is not a whole number", raw.describe()))?,
                    _ => return Err(format!("{} is not a whole number", raw.describe())),
                };
                match u64::try_from(value).ok().filter(|value| allowed.contains(value)) {
                    Some(value) => write(target, value),
                    None => return Err(format!("{value} is out of range")),
                }
            }
            Kind::Boolean { write, .. } => match raw {
                Raw::Boolean(value) => write(target, *value),
                // As variables have it.
                Raw::Text(text) if matches!(text.as_str(), "true" | "false") => write(target, text == "true"),
                _ => return Err(format!("{} is neither true nor false", raw.describe())),
            },
            Kind::Text { write, .. } => match raw {
                Raw::Text(text) => write(target, text)?,
                _ => return Err(format!("{} is not a string", raw.describe())),
            },
            Kind::NameOrNumber { write, .. } => match raw {
                Raw::Text(text) => write(target, text)?,
                Raw::Integer(number) => write(target, &number.to_string())?,
                _ => return Err(format!("{} is neither a name nor a number", raw.describe())),
            },
            Kind::List { write, .. } => {
                let texts = match raw {
                    // In the file a list of one may be written as that one.
                    Raw::Text(text) => vec![text.clone()],
                    Raw::List(items) => items.iter().map(text_of).collect::<Result<_, _>>()?,
                    _ => return Err(format!("{} is not a list of strings", raw.describe())),
                };
                write(target, &texts)?;
            }
        }
        Ok(())
    }

    /// Gives `to` the value that `from` has.
    pub(super) fn copy(&self, from: &T, to: &mut T) {
        match &self.kind {
            Kind::Integer { read, write, .. } => write(to, read(from)),
            Kind::Boolean { read, write } => write(to, read(from)),
            // What was read was written once, so it can be written again.
            Kind::Text { read, write, .. } | Kind::NameOrNumber { read, write, .. } => {
                let _ = write(to, &read(from));
            }
            Kind::List { read, write, .. } => {
                let _ = write(to, &read(from));
            }
        }
    }

    /// What the key takes, for error lines.
    pub(super) fn allowed(&self) -> String {
        match &self.kind {
            Kind::Integer { allowed, .. } => format!("{} to {}", allowed.start(), allowed.end()),
            Kind::Boolean { .. } => "true, false".into(),
            Kind::Text { allowed, .. } | Kind::NameOrNumber { allowed, .. } | Kind::List { allowed, .. } => {
                (*allowed).into()
            }
        }
    }

    /// The present value, written as the file writes it.
    pub(super) fn show(&self, target: &T) -> String {
        match &self.kind {
            Kind::Integer { read, .. } => read(target).to_string(),
            Kind::Boolean { read, .. } => read(target).to_string(),
            Kind::Text { read, .. } => quoted(&read(target)),
            Kind::NameOrNumber { read, .. } => {
                let value = read(target);
                if value.parse::<u64>().is_ok() { value } else { quoted(&value) }
            }
            Kind::List { read, .. } => {
                let items: Vec<_> = read(target).iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }
}

fn text_of(raw: &Raw) -> Result<String, String> {
    match raw {
        Raw::Text(text) => Ok(text.clone()),
        _ => Err(format!("{} in the list is not a string", raw.describe())),
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key<u64> = Key {
        name: "n",
        about: "",
        kind: Kind::Integer { allowed: 1..=9, read: |n| *n, write: |n, value| *n = value },
    };

    #[test]
    fn an_integer_is_taken_from_a_number_and_from_text_and_from_nothing_else() {
        let mut n = 0;
        assert_eq!(KEY.store(&mut n, &Raw::Integer(9)), Ok(()));
        assert_eq!(n, 9);
        assert_eq!(KEY.store(&mut n, &Raw::Text(" 2 ".into())), Ok(()));
        assert_eq!(n, 2);
        for (raw, problem) in [
            (Raw::Integer(0), "0 is out of range"),
            (Raw::Integer(-1), "-1 is out of range"),
            (Raw::Integer(i128::MAX), "170141183460469231731687303715884105727 is out of range"),
            (Raw::Text("many".into()), "\"many\" is not a whole number"),
            (Raw::Other("a float"), "a float is not a whole number"),
        ] {
            assert_eq!(KEY.store(&mut n, &raw), Err(problem.into()));
        }
        assert_eq!(n, 2, "a refused value leaves the old one");
    }

    #[test]
    fn a_shown_string_reads_back_as_itself() {
        for text in ["plain", "quo\"te", "back\\slash", "tab\tnew\nline\u{7f}", "ä"] {
            let document = format!("key = {}", quoted(text));
            let table: toml::Table = document.parse().expect("valid TOML");
            assert_eq!(table["key"].as_str(), Some(text));
        }
    }
}
