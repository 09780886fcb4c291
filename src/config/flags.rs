//! The command line and the environment: the few keys that have a flag and a variable of their own.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use super::error::{ConfigError, Origin};
use super::key::Raw;
use super::schema::OVERRIDES;
use crate::edge::auth::ruling::Role;

/// What the process was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The command; `serve` when none is given.
    pub command: Command,
    /// Where the configuration comes from, file left aside.
    pub sources: Sources,
}

/// The commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Take in and hand out RTMP; this is also what happens without a command.
    #[default]
    Serve,
    /// Validate the configuration, print what is in force, and exit.
    Check,
    /// Tell whether this host is ready, what is missing and the command that fixes it, and exit.
    Preflight,
    /// Feed a flight recording to the parser again, and print what it makes of it.
    Replay {
        /// A file that the flight recorder has written
        file: PathBuf,
    },
    /// Read a key from standard input and print the line that the file has of it.
    HashKey,
    /// Print a signed address, made with the first of the signed_secrets that the file has for the app.
    Sign(SignArguments),
}

/// What an address is signed for.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct SignArguments {
    /// App of the stream
    #[arg(long)]
    pub app: String,
    /// Name of the stream
    #[arg(long)]
    pub name: String,
    /// For how long it is good: 90s, 15m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub expires_in: u64,
    /// Only from this network, ADDRESS/BITS
    #[arg(long, value_name = "NETWORK")]
    pub address: Option<IpNet>,
    /// publish, play or both
    #[arg(long, default_value = "publish", value_parser = role)]
    pub role: Role,
    /// Rank of the publisher among those of the stream
    #[arg(long, default_value_t = 0)]
    pub priority: u32,
    /// The host that the app's table in the file is for, if it is for one
    #[arg(long)]
    pub host: Option<String>,
}

fn role(name: &str) -> Result<Role, String> {
    Role::from_name(name).ok_or_else(|| format!("{name:?} is no role; allowed: {}", Role::NAMES))
}

/// A time with its unit, in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let time = units.into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds).filter(|seconds| *seconds > 0)
    });
    time.ok_or_else(|| format!("{text:?} is no time; allowed: 90s, 15m, 2h, 7d"))
}

/// What flags and environment say: kept, so that a reload can read the file again under the same flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub(super) file: Option<PathBuf>,
    pub(super) variables: Vec<Setting>,
    pub(super) flags: Vec<Setting>,
    /// Variables that look like ours and are not.
    pub(super) unknown_variables: Vec<String>,
}

/// One key set by a flag or a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) origin: Origin,
    pub(super) table: &'static str,
    pub(super) key: &'static str,
    pub(super) value: Raw,
}

/// Why there is no invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoInvocation {
    /// `--help` or `--version`: the text that was asked for.
    Answer(String),
    /// A flag or variable that cannot be used.
    Wrong(ConfigError),
}

const CONFIG_VARIABLE: &str = "INRUSH_CONFIG";

#[derive(Parser)]
#[command(
    name = "inrush",
    version,
    about = "RTMP ingest engine: encoders publish, players watch, one io_uring a core",
    after_help = "A flag wins over its variable, a variable over the file, the file over the default.\n\
                  Signals: TERM and INT drain, then stop; a second one stops at once; HUP reads the file again.\n\
                  Exit codes: 0 stopped cleanly, 2 bad configuration, 3 host not ready, 1 anything else."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Args)]
struct Flags {
    /// Configuration file, TOML [env: INRUSH_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve RTMP here; repeatable [env: INRUSH_RTMP, comma separated] [default: 0.0.0.0:1935]
    #[arg(long, global = true, value_name = "ADDR")]
    rtmp: Vec<String>,
    /// Serve RTMPS here; repeatable [env: INRUSH_RTMPS, comma separated]
    #[arg(long, global = true, value_name = "ADDR")]
    rtmps: Vec<String>,
    /// Serve both RTMP and RTMPS wherever either is served [env: INRUSH_RTMPS_DETECT=true]
    #[arg(long, global = true)]
    rtmps_detect: bool,
    /// Serve RTMPS with a certificate made now that nobody has signed [env: INRUSH_RTMPS_SELF_SIGNED=true]
    #[arg(long, global = true)]
    rtmps_self_signed: bool,
    /// Serve health, metrics and API here [env: INRUSH_HTTP] [default: 127.0.0.1:8935]
    #[arg(long, global = true, value_name = "ADDR")]
    http: Option<String>,
    /// Where the token stands that it asks for: file:PATH or env:NAME [env: INRUSH_HTTP_TOKEN]
    #[arg(long, global = true, value_name = "PLACE")]
    http_token: Option<String>,
    /// Cores to run on; 0 is all [env: INRUSH_CORES] [default: 0]
    #[arg(long, global = true, value_name = "N")]
    cores: Option<String>,
    /// Where streams live: accept, home or core:N [env: INRUSH_PLACEMENT] [default: home]
    #[arg(long, global = true, value_name = "HOW")]
    placement: Option<String>,
    /// Log level or filter [env: INRUSH_LOG] [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Log lines as text or json [env: INRUSH_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Invocation {
    /// Reads the command line (program name first) and the environment.
    ///
    /// An empty variable counts as not set, as orchestrators cannot unset one.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, NoInvocation> {
        let CommandLine { command, flags } =
            CommandLine::try_parse_from(arguments).map_err(|error| explain(&error))?;
        let mut sources = Sources { file: flags.config.clone(), ..Sources::default() };
        sources.read_flags(flags);
        sources.read_environment(environment).map_err(NoInvocation::Wrong)?;
        Ok(Self { command: command.unwrap_or_default(), sources })
    }
}

impl Sources {
    fn read_flags(&mut self, flags: Flags) {
        let text = |value: Option<String>| value.map(Raw::Text);
        let list = |values: &[String]| {
            (!values.is_empty()).then(|| Raw::List(values.iter().flat_map(|value| split(value)).collect()))
        };
        let values = [
            ("--rtmp", list(&flags.rtmp)),
            ("--rtmps", list(&flags.rtmps)),
            ("--rtmps-detect", flags.rtmps_detect.then_some(Raw::Boolean(true))),
            ("--rtmps-self-signed", flags.rtmps_self_signed.then_some(Raw::Boolean(true))),
            ("--http", text(flags.http)),
            ("--http-token", text(flags.http_token)),
            ("--cores", text(flags.cores)),
            ("--placement", text(flags.placement)),
            ("--log", text(flags.log)),
            ("--log-format", text(flags.log_format)),
        ];
        for (name, value) in values {
            let entry = OVERRIDES.iter().find(|entry| entry.flag == name);
            if let (Some(entry), Some(value)) = (entry, value) {
                self.flags.push(Setting {
                    origin: Origin::Flag(entry.flag),
                    table: entry.table,
                    key: entry.key,
                    value,
                });
            }
        }
    }

    fn read_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        for (name, value) in environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with("INRUSH_")) else { continue };
            if value.is_empty() {
                continue;
            }
            if name == CONFIG_VARIABLE {
                self.file.get_or_insert_with(|| PathBuf::from(value));
                continue;
            }
            let Some(entry) = OVERRIDES.iter().find(|entry| entry.variable == name) else {
                self.unknown_variables.push(name.to_owned());
                continue;
            };
            let origin = Origin::Variable(entry.variable);
            let Some(value) = value.to_str() else {
                return Err(ConfigError::new(origin, format!("{value:?} is not UTF-8"), "text"));
            };
            let value = if entry.key == "listen" && entry.table != "control" {
                Raw::List(split(value).collect())
            } else {
                Raw::Text(value.to_owned())
            };
            self.variables.push(Setting { origin, table: entry.table, key: entry.key, value });
        }
        // The environment has no order of its own; reports shall have one.
        self.variables.sort_by_key(|setting| (setting.table, setting.key));
        self.unknown_variables.sort();
        Ok(())
    }
}

fn split(list: &str) -> impl Iterator<Item = Raw> + '_ {
    list.split(',').map(|item| Raw::Text(item.trim().to_owned()))
}

/// One line for each way in which clap can refuse a command line; its own text has several.
fn explain(error: &clap::Error) -> NoInvocation {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let wrong = |problem: String, allowed: String| {
        NoInvocation::Wrong(ConfigError::new(Origin::CommandLine, problem, allowed))
    };
    // "--cores <N>" names the flag and its value.
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => NoInvocation::Answer(error.to_string()),
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            wrong(format!("unknown flag {argument}"), flag_names())
        }
        ErrorKind::UnknownArgument => wrong(format!("unknown command {argument:?}"), command_names()),
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            wrong(format!("unknown command {name:?}"), command_names())
        }
        ErrorKind::InvalidValue => wrong(format!("{argument} has no value"), argument.to_owned()),
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(missing)) => missing.join(", "),
                _ => argument.to_owned(),
            };
            wrong(format!("{missing} must be said"), "see inrush --help".into())
        }
        ErrorKind::ArgumentConflict => wrong(format!("{argument} is given twice"), "once".into()),
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            wrong(first.to_owned(), "see inrush --help".into())
        }
    }
}

fn flag_names() -> String {
    let mut names = vec!["--config"];
    names.extend(OVERRIDES.iter().map(|entry| entry.flag));
    names.extend(["--help", "--version"]);
    names.join(", ")
}

fn command_names() -> String {
    "serve, check, preflight, replay FILE, hash-key, sign".into()
}
