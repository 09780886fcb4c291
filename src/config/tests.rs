use std::ffi::OsString;

use super::*;
use crate::edge::auth::said_limits::SaidLimits;
use crate::media::TimestampPolicy;
use crate::runtime::App;

/// Reads a command line, an environment and a file's text as the process would; an error as the line it prints.
pub(super) fn load(
    flags: &[&str],
    environment: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Loaded, String> {
    let arguments = std::iter::once("inrush").chain(flags.iter().copied()).map(OsString::from);
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    let mut invocation = Invocation::parse(arguments, environment).map_err(|none| match none {
        NoInvocation::Answer(text) => text,
        NoInvocation::Wrong(error) => error.to_string(),
    })?;
    if file.is_some() {
        invocation.sources.file = Some("x.toml".into());
    }
    Loaded::from_text(&invocation.sources, file).map_err(|error| error.to_string())
}

pub(super) fn refusal(flags: &[&str], environment: &[(&str, &str)], file: Option<&str>) -> String {
    load(flags, environment, file).expect_err("refused")
}

#[test]
fn without_a_word_the_defaults_are_those_of_the_design() {
    let config = load(&[], &[], None).unwrap().config;
    assert_eq!(config.runtime.listen, ["0.0.0.0:1935".parse().unwrap()]);
    assert_eq!(config.control.listen, "127.0.0.1:8935".parse().unwrap());
    assert_eq!(config.runtime.cores, 0);
    assert_eq!(config.runtime.placement, Placement::Home);
    assert_eq!(config.runtime.drain_deadline.as_secs(), 20);
    assert_eq!(config.log, log::Settings { filter: "info".into(), format: log::Format::Text });
    assert_eq!(config.runtime.apps.len(), 1);
    assert_eq!(config.runtime.apps[0].name, "*");
    assert!(config.runtime.apps[0].settings.gop.enabled);
    assert_eq!(config.runtime.apps[0].settings.ingest.timestamps, TimestampPolicy::Pass);
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let file = Some("[engine]\ncores = 2\n[control]\nlisten = \"127.0.0.1:2\"\n[log]\nformat = \"json\"");
    let environment = [("INRUSH_CORES", "3"), ("INRUSH_HTTP", "127.0.0.1:3")];
    let loaded = load(&["--cores", "4"], &environment, file).unwrap();
    assert_eq!(loaded.config.runtime.cores, 4);
    assert_eq!(loaded.config.control.listen.port(), 3);
    assert_eq!(loaded.config.log.format, log::Format::Json);
    assert_eq!(loaded.config.log.filter, "info");
    assert_eq!(loaded.origins.of("engine", "cores"), Origin::Flag("--cores"));
    assert_eq!(loaded.origins.of("control", "listen"), Origin::Variable("INRUSH_HTTP"));
    assert_eq!(loaded.origins.of("log", "format").to_string(), "x.toml:6");
    assert_eq!(loaded.origins.of("log", "filter"), Origin::Default);
}

#[test]
fn each_flag_and_each_variable_sets_its_key() {
    type Read = fn(&Config) -> String;
    let table: [(&str, &str, &str, Read); 8] = [
        ("--rtmp", "INRUSH_RTMP", "[::1]:1936", |c| c.runtime.listen[0].to_string()),
        ("--rtmps", "INRUSH_RTMPS", "[::1]:443", |c| {
            c.runtime.tls.listen.iter().map(ToString::to_string).collect()
        }),
        ("--http", "INRUSH_HTTP", "[::1]:8936", |c| c.control.listen.to_string()),
        ("--http-token", "INRUSH_HTTP_TOKEN", "file:/proc/sys/kernel/random/boot_id", |c| {
            c.control.token.as_ref().map(ToString::to_string).unwrap_or_default()
        }),
        ("--cores", "INRUSH_CORES", "7", |c| c.runtime.cores.to_string()),
        ("--placement", "INRUSH_PLACEMENT", "core:1", |c| {
            format!(
                "core:{}",
                match c.runtime.placement {
                    Placement::Core(core) => core,
                    _ => 99,
                }
            )
        }),
        ("--log", "INRUSH_LOG", "warn", |c| c.log.filter.clone()),
        ("--log-format", "INRUSH_LOG_FORMAT", "json", |c| c.log.format.name().into()),
    ];
    for (flag, variable, value, read) in table {
        for command in [None, Some("serve"), Some("check")] {
            let before: Vec<_> = [flag, value].into_iter().chain(command).collect();
            let after: Vec<_> = command.into_iter().chain([flag, value]).collect();
            // So that RTMPS has a certificate.
            let before: Vec<_> = before.into_iter().chain(["--rtmps-self-signed"]).collect();
            let after: Vec<_> = after.into_iter().chain(["--rtmps-self-signed"]).collect();
            assert_eq!(read(&load(&before, &[], None).unwrap().config), value, "{before:?}");
            assert_eq!(read(&load(&after, &[], None).unwrap().config), value, "{after:?}");
        }
        let environment = [(variable, value), ("INRUSH_RTMPS_SELF_SIGNED", "true")];
        let loaded = load(&[], &environment, None).unwrap();
        assert_eq!(read(&loaded.config), value);
        assert!(loaded.config.runtime.tls.self_signed);
        let unset = load(&[], &[(variable, "")], None).unwrap();
        assert_eq!(read(&unset.config), read(&Config::default()), "{variable} set to nothing is not set");
    }
}

#[test]
fn rtmp_listens_on_several_addresses() {
    let expected = ["0.0.0.0:1935".parse().unwrap(), "[::1]:1936".parse().unwrap()];
    let flags = ["--rtmp", "0.0.0.0:1935", "--rtmp", "[::1]:1936"];
    assert_eq!(load(&flags, &[], None).unwrap().config.runtime.listen, expected);
    let variable = [("INRUSH_RTMP", "0.0.0.0:1935, [::1]:1936")];
    assert_eq!(load(&[], &variable, None).unwrap().config.runtime.listen, expected);
    let file = "[rtmp]\nlisten = [\"0.0.0.0:1935\", \"[::1]:1936\"]";
    assert_eq!(load(&[], &[], Some(file)).unwrap().config.runtime.listen, expected);
}

#[test]
fn the_command_is_serve_unless_another_is_named() {
    let command = |arguments: &[&str]| {
        let arguments = arguments.iter().map(OsString::from);
        Invocation::parse(arguments, []).unwrap().command
    };
    assert_eq!(command(&["inrush"]), Command::Serve);
    assert_eq!(command(&["inrush", "serve"]), Command::Serve);
    assert_eq!(command(&["inrush", "check"]), Command::Check);
    assert_eq!(command(&["inrush", "preflight"]), Command::Preflight);
    assert_eq!(command(&["inrush", "hash-key"]), Command::HashKey);
    let sign = [
        "inrush",
        "sign",
        "--app",
        "live",
        "--name",
        "test",
        "--expires-in",
        "2h",
        "--address",
        "192.0.2.0/24",
    ];
    let Command::Sign(arguments) = command(&sign) else { panic!("sign") };
    assert_eq!((arguments.expires_in, arguments.role.name(), arguments.priority), (7200, "publish", 0));
    for wrong in ["2", "0s", "-1s", "2w", "99999999999999999999d", "soon"] {
        let line = ["inrush", "sign", "--app", "live", "--name", "test", "--expires-in", wrong];
        assert!(Invocation::parse(line.iter().map(OsString::from), []).is_err(), "{wrong}");
    }
}

#[test]
fn the_file_is_named_by_flag_before_variable() {
    let file = |arguments: &[&str], environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        Invocation::parse(arguments.iter().map(OsString::from), environment).unwrap().sources.file
    };
    let variable = [("INRUSH_CONFIG", "v.toml")];
    assert_eq!(file(&["inrush"], &variable), Some("v.toml".into()));
    assert_eq!(file(&["inrush", "--config", "f.toml"], &variable), Some("f.toml".into()));
    assert_eq!(file(&["inrush", "check", "--config", "f.toml"], &variable), Some("f.toml".into()));
    assert_eq!(file(&["inrush"], &[("INRUSH_CONFIG", "")]), None);
}

const CHAIN: &str = "a readable PEM file with the certificate first and its chain behind it";
const KEY: &str = "a readable PEM file with the private key of the certificate";

/// Every way in which a file can be wrong, with the line that says so.
#[test]
fn a_wrong_file_is_refused_with_its_line() {
    let table_names = "[engine], [rtmp], [tls], [proxy], [ingest], [notify], [control], [deadlines], [limits], [recorder], [log], [[certificate]], [[auth]], [[key]], [[app]], [[target]], [[upstream]]";
    let address = "ADDRESS:PORT, such as 0.0.0.0:1935, 127.0.0.1:8935 or [::]:1935";
    let token = "file:PATH or env:NAME, with at least 16 letters, digits and -._~+/=";
    let table = [
        // Not TOML.
        ("[engine]\ncores = \n", "x.toml:2: string values must be quoted, expected literal string; allowed: TOML, as in deploy/inrush.toml".to_owned()),
        ("[engine]\ncores = 1\ncores = 2\n", "x.toml:3: duplicate key; allowed: TOML, as in deploy/inrush.toml".into()),
        // Unknown names.
        ("\n[rtpm]\n", format!("x.toml:2: unknown table [rtpm]; allowed: {table_names}")),
        ("[[vhost]]\n", format!("x.toml:1: unknown table [[vhost]]; allowed: {table_names}")),
        ("cores = 2\n", format!("x.toml:1: unknown key \"cores\" outside of any table; allowed: {table_names}")),
        ("[engine]\n\ncore = 2\n", "x.toml:3: unknown key \"core\" in [engine]; allowed: cores, placement, drain_seconds, reconnect_url".into()),
        ("[[app]]\nname = \"live\"\ngop_cash = false\n", format!("x.toml:3: unknown key \"gop_cash\" in [[app]]; allowed: {}", app_keys())),
        // The first wrong line, not the first in the alphabet.
        ("[rtmp]\nzone = 1\nalso = 2\n", "x.toml:2: unknown key \"zone\" in [rtmp]; allowed: listen, window_ack_bytes, ping_seconds, congestion, dscp".into()),
        // Wrong shape.
        ("engine = 4\n", "x.toml:1: engine is not a table; allowed: [engine]".into()),
        ("[app]\nname = \"live\"\n", "x.toml:1: app is not a list of tables; allowed: [[app]]".into()),
        ("app = [1]\n", "x.toml:1: app is not a list of tables; allowed: [[app]]".into()),
        // Wrong type.
        ("[engine]\ncores = true\n", "x.toml:2: engine.cores: true is not a whole number; allowed: 0 to 128".into()),
        ("[engine]\ncores = 1.5\n", "x.toml:2: engine.cores: a float is not a whole number; allowed: 0 to 128".into()),
        ("[engine]\ncores = 2024-01-01\n", "x.toml:2: engine.cores: a date is not a whole number; allowed: 0 to 128".into()),
        ("[engine]\ncores = {}\n", "x.toml:2: engine.cores: a table is not a whole number; allowed: 0 to 128".into()),
        ("[engine]\nplacement = 1\n", "x.toml:2: engine.placement: 1 is not a string; allowed: accept, home, core:N".into()),
        ("[rtmp]\nlisten = 1935\n", format!("x.toml:2: rtmp.listen: 1935 is not a list of strings; allowed: {address}")),
        ("[rtmp]\nlisten = [1935]\n", format!("x.toml:2: rtmp.listen: 1935 in the list is not a string; allowed: {address}")),
        // Out of range.
        ("[engine]\ncores = 129\n", "x.toml:2: engine.cores: 129 is out of range; allowed: 0 to 128".into()),
        ("[engine]\ncores = -1\n", "x.toml:2: engine.cores: -1 is out of range; allowed: 0 to 128".into()),
        ("[engine]\ncores = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\n", format!("x.toml:2: engine.cores: {} is out of range; allowed: 0 to 128", i128::MAX)),
        ("[engine]\ndrain_seconds = 86401\n", "x.toml:2: engine.drain_seconds: 86401 is out of range; allowed: 0 to 86400".into()),
        // No value of its kind.
        ("[engine]\nplacement = \"core:\"\n", "x.toml:2: engine.placement: \"core:\" is no placement; allowed: accept, home, core:N".into()),
        ("[engine]\nreconnect_url = \"http://other/live\"\n", "x.toml:2: engine.reconnect_url: \"http://other/live\": an RTMP URL begins with rtmp:// or rtmps://; allowed: rtmp://HOST[:PORT][/APP], the same with rtmps, or nothing".into()),
        ("[engine]\nreconnect_url = \"rtmp:///live\"\n", "x.toml:2: engine.reconnect_url: \"rtmp:///live\": the URL names no host; allowed: rtmp://HOST[:PORT][/APP], the same with rtmps, or nothing".into()),
        ("[rtmp]\nlisten = [\"0.0.0.0\"]\n", format!("x.toml:2: rtmp.listen: \"0.0.0.0\" is not an address; allowed: {address}")),
        ("[rtmp]\nlisten = []\n", format!("x.toml:2: rtmp.listen: no address is given; allowed: {address}")),
        ("[rtmp]\nlisten = [\n \"[::]:1935\",\n \"0.0.0.0:1935\"]\n", format!("x.toml:2: rtmp.listen: 0.0.0.0:1935 is served by [::]:1935 already; allowed: {address}")),
        ("[control]\nlisten = \"localhost:8935\"\n", format!("x.toml:2: control.listen: \"localhost:8935\" is not an address; allowed: {address}")),
        ("[recorder]\nbytes = 10\n", "x.toml:2: recorder.bytes: 10 is out of range; allowed: 1024 to 1048576".into()),
        ("[recorder]\ndirectory = 5\n", "x.toml:2: recorder.directory: 5 is not a string; allowed: a directory's path, or an empty string".into()),
        ("[log]\nfilter = \"inof\"\n", "x.toml:2: log.filter: \"inof\" is no log level; allowed: error, warn, info, debug, trace, off, or target=level, comma separated".into()),
        ("[log]\nformat = \"xml\"\n", "x.toml:2: log.format: \"xml\" is no log format; allowed: text, json".into()),
        ("[[app]]\nname = \"*\"\ngop_cache = \"yes\"\n", "x.toml:3: app.gop_cache: \"yes\" is neither true nor false; allowed: true, false".into()),
        ("[[app]]\nname = \"*\"\ntimestamps = \"fix\"\n", "x.toml:3: app.timestamps: \"fix\" is no timestamp policy; allowed: pass, monotonic".into()),
        ("[[app]]\nname = \"*\"\nlimit_codecs = [\"avc1\", \"h264\"]\n", format!("x.toml:3: app.limit_codecs: \"h264\" is no codec; allowed: {}", schema::kinds::CODECS)),
        ("[[app]]\nname = \"*\"\nlimit_width = 65536\n", "x.toml:3: app.limit_width: 65536 is out of range; allowed: 0 to 65535".into()),
        ("[rtmp]\ncongestion = \"no_such_one\"\n", format!("x.toml:2: rtmp.congestion: \"no_such_one\" is not among those of this machine: {}; allowed: {}", crate::runtime::traffic::congestion_available().join(", "), schema::kinds::CONGESTION)),
        ("[rtmp]\ndscp = 64\n", format!("x.toml:2: rtmp.dscp: \"64\" is no DSCP; allowed: {}", schema::kinds::DSCP)),
        ("[tls]\ndscp = \"af44\"\n", format!("x.toml:2: tls.dscp: \"af44\" is no DSCP; allowed: {}", schema::kinds::DSCP)),
        ("[tls]\nself_signed = 1\n", "x.toml:2: tls.self_signed: 1 is neither true nor false; allowed: true, false".into()),
        ("[tls]\nhandshake_percent_max = 0\n", "x.toml:2: tls.handshake_percent_max: 0 is out of range; allowed: 1 to 100".into()),
        ("[proxy]\ntrusted = [\"10.0.0.1\"]\n", "x.toml:2: proxy.trusted: \"10.0.0.1\" is no network; allowed: ADDRESS/BITS, such as 127.0.0.0/8 or ::1/128".into()),
        ("[notify]\nurl = \"rtmp://h/\"\n", "x.toml:2: notify.url: is no http:// or https:// URL; allowed: http://HOST/… or https://HOST/…".into()),
        ("[notify]\nurl = \"http://h/\"\nsecret = \"env:INRUSH_TEST_NONE\"\n", "x.toml:3: notify.secret: env:INRUSH_TEST_NONE: is not set; allowed: file:PATH or env:NAME".into()),
        ("[notify]\nurl = \"https://h/\"\nca_file = \"/dev/null\"\n", "x.toml:3: notify.ca_file: /dev/null: has no certificate in it; allowed: a readable PEM file, or nothing".into()),
        ("[notify]\nwaiting_max = 0\n", "x.toml:2: notify.waiting_max: 0 is out of range; allowed: 1 to 1000000".into()),
        // The control HTTP's token: what is refused is never repeated, as it may be the token.
        ("[control]\nlisten = \"0.0.0.0:8935\"\n", "x.toml:2: control HTTP on 0.0.0.0:8935, where others reach it, and there is no control.token; allowed: control.token = \"file:PATH or env:NAME\", or a loopback address".into()),
        ("[control]\nmetrics_open = true\nlisten = \"[::]:8935\"\n", "x.toml:3: control HTTP on [::]:8935, where others reach it, and there is no control.token; allowed: control.token = \"file:PATH or env:NAME\", or a loopback address".into()),
        ("[control]\ntoken = \"hunter2hunter2hunter2\"\n", "x.toml:2: control.token: names no place of a secret; allowed: file:PATH or env:NAME".into()),
        ("[control]\ntoken = \"env:INRUSH_TEST_NONE\"\n", format!("x.toml:2: control.token: env:INRUSH_TEST_NONE: is not set; allowed: {token}")),
        ("[control]\ntoken = \"file:/dev/null\"\n", format!("x.toml:2: control.token: file:/dev/null: is shorter than 16 bytes; allowed: {token}")),
        ("[control]\ntoken_file = \"a\"\n", "x.toml:2: unknown key \"token_file\" in [control]; allowed: listen, token, metrics_open, top_streams".into()),
        ("[control]\nmetrics_open = 1\n", "x.toml:2: control.metrics_open: 1 is neither true nor false; allowed: true, false".into()),
        // Certificates.
        ("[certificate]\n", "x.toml:1: certificate is not a list of tables; allowed: [[certificate]]".into()),
        ("[[certificate]]\nfile = \"a\"\n", "x.toml:2: unknown key \"file\" in [[certificate]]; allowed: chain_file, key_file".into()),
        ("\n[[certificate]]\nchain_file = \"a\"\n", format!("x.toml:2: this [[certificate]] has no key_file; allowed: {KEY}")),
        ("[[certificate]]\nkey_file = \"a\"\nchain_file = \"\"\n", format!("x.toml:3: certificate.chain_file: no file is named; allowed: {CHAIN}")),
        // Apps.
        ("\n[[app]]\n", "x.toml:2: this [[app]] has no name; allowed: name = \"*\" or an app's name".into()),
        ("[[app]]\nname = 1\n", "x.toml:2: app.name is not a string; allowed: \"*\" or an app's name".into()),
        ("[[app]]\nname = \"/live\"\n", "x.toml:2: app.name: \"/live\" has slashes around it; allowed: an app's name without slashes around it, or *".into()),
        ("[[app]]\nname = \"a\"\n[[app]]\nname = \"a\"\n", "x.toml:4: app \"a\" has a table already; allowed: one [[app]] an app".into()),
        // Right each, wrong together.
        ("[engine]\ncores = 2\nplacement = \"core:2\"\n", "x.toml:3: placement core:2 with engine.cores = 2; allowed: core:0 to core:1".into()),
        ("[limits]\nmessage_bytes_max = 200_000\nreassembly_bytes_max = 100_000\n", "x.toml:3: limits.reassembly_bytes_max = 100000 is below limits.message_bytes_max = 200000; allowed: message_bytes_max <= reassembly_bytes_max".into()),
        ("[limits]\nreassembly_bytes_max = 500_000_000\n", "x.toml:2: limits.core_reassembly_bytes_max = 268435456 is below limits.reassembly_bytes_max = 500000000; allowed: reassembly_bytes_max <= core_reassembly_bytes_max".into()),
        ("[tls]\nlisten = \"0.0.0.0:443\"\n", "x.toml:2: RTMPS is to be served and there is no certificate; allowed: a [[certificate]] in the file, or --rtmps-self-signed".into()),
        ("[tls]\ndetect = true\n", "x.toml:2: RTMPS is to be served and there is no certificate; allowed: a [[certificate]] in the file, or --rtmps-self-signed".into()),
        ("[tls]\nself_signed = true\nlisten = \"127.0.0.1:1935\"\n", "x.toml:3: RTMPS on 127.0.0.1:1935, where RTMP listens (0.0.0.0:1935); allowed: a port of its own".into()),
        ("[control]\nlisten = \"127.0.0.1:1935\"\n", "x.toml:2: control HTTP on 127.0.0.1:1935, where RTMP listens (0.0.0.0:1935); allowed: a port of its own".into()),
    ];
    for (file, line) in table {
        assert_eq!(refusal(&[], &[], Some(file)), line, "{file}");
    }
}

/// Every way in which the tables of authorisation can be wrong: file, line, key, what is wrong and what is allowed.
#[test]
fn wrong_authorisation_is_refused_with_its_line() {
    let directory = std::env::temp_dir().join(format!("inrush-auth-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name).display().to_string();
    std::fs::write(path("secret"), "0123456789abcdef\n").unwrap();
    std::fs::write(path("short"), "0123456789abcde\n").unwrap();
    std::fs::write(path("junk"), "{\"keys\": []}").unwrap();
    let hash = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";
    let app = "an app's name without slashes around it, or *";
    let network = "ADDRESS/BITS, such as 127.0.0.0/8 or ::1/128";
    let sources = "static, signed, jwt, callback, nginx, open";
    let place = "file:PATH or env:NAME";
    let secrets = "\"ID=file:PATH\" or \"ID=env:NAME\", each ID of letters, digits, - and _, once";
    let url = "http://HOST/… or https://HOST/…";
    let key_set = "file:PATH, http://HOST/… or https://HOST/…";
    // What follows `[[auth]]` and `app = "live"`, from line 3 on.
    let table: Vec<(String, String)> = [
        ("app = \"x\"", "3: duplicate key".into(), "TOML, as in deploy/inrush.toml"),
        (
            "host = \"a.example:1935\"",
            "3: auth.host: \"a.example:1935\" is no host".into(),
            "a host's name or address without port, or nothing",
        ),
        ("publish = [\"token\"]", "3: auth.publish: \"token\" is no source".into(), sources),
        ("play = 7", "3: auth.play: 7 is not a list of strings".into(), sources),
        (
            "publish = [\"signed\", \"signed\"]\nsigned_secrets = \"a=env:PATH\"",
            "3: auth.publish: signed is there twice".into(),
            sources,
        ),
        (
            "publish = [\"open\", \"callback\"]",
            "3: auth.publish: callback is never asked, as open decides everything".into(),
            sources,
        ),
        (
            "play = [\"callback\", \"open\"]",
            "3: auth.play: open is never asked, as callback decides everything".into(),
            sources,
        ),
        ("publish = [\"static\"]", "3: auth.publish: static, and no [[key]] is for this app".into(), sources),
        ("publish_deny = [\"10.0.0.1\"]", "3: auth.publish_deny: \"10.0.0.1\" is no network".into(), network),
        ("fail = \"maybe\"", "3: auth.fail: \"maybe\" is neither closed nor open".into(), "closed, open"),
        ("publish = [\"signed\"]", "2: auth.signed_secrets: none, and signed is a source".into(), secrets),
        ("signed_secrets = [\"hunter2\"]", "3: auth.signed_secrets: one of them has no id".into(), secrets),
        (
            "signed_secrets = [\"a b=env:X\"]",
            "3: auth.signed_secrets: one of them has no id that could stand in a URL".into(),
            secrets,
        ),
        (
            "signed_secrets = [\"a=hunter2\"]",
            "3: auth.signed_secrets: \"a\" names no place of a secret".into(),
            secrets,
        ),
        (
            "signed_secrets = [\"a=env:X\", \"a=env:Y\"]",
            "3: auth.signed_secrets: the id \"a\" is there twice".into(),
            secrets,
        ),
        (
            "publish = [\"signed\"]\nsigned_secrets = \"a=file:DIR/none\"",
            "4: auth.signed_secrets: file:none: cannot be read: No such file or directory (os error 2)"
                .into(),
            secrets,
        ),
        (
            "publish = [\"signed\"]\nsigned_secrets = \"a=file:DIR/short\"",
            "4: auth.signed_secrets: file:short: is shorter than 16 bytes".into(),
            secrets,
        ),
        (
            "publish = [\"signed\"]\nsigned_secrets = \"a=env:INRUSH_TEST_NONE\"",
            "4: auth.signed_secrets: env:INRUSH_TEST_NONE: is not set".into(),
            secrets,
        ),
        (
            "publish = [\"jwt\"]",
            "2: auth.jwt_key: neither it nor jwt_key_set, and jwt is a source".into(),
            place,
        ),
        (
            "publish = [\"jwt\"]\njwt_key = \"file:DIR/secret\"",
            "2: auth.jwt_algorithm: none, and there is a jwt_key".into(),
            "HS256, RS256, ES256",
        ),
        ("jwt_algorithm = \"none\"", "3: auth.jwt_algorithm: \"none\" is none".into(), "HS256, RS256, ES256"),
        (
            "publish = [\"jwt\"]\njwt_algorithm = \"RS256\"\njwt_key = \"file:DIR/secret\"",
            "5: auth.jwt_key: file:secret: is no public key for RS256 in PEM: InvalidKeyFormat".into(),
            place,
        ),
        (
            "publish = [\"jwt\"]\njwt_key = \"file:DIR/secret\"\njwt_key_set = \"https://h/\"",
            "4: auth.jwt_key: there is a jwt_key_set as well".into(),
            place,
        ),
        (
            "publish = [\"jwt\"]\njwt_algorithm = \"RS256\"\njwt_key_set = \"https://h/\"",
            "4: auth.jwt_algorithm: keys of a jwt_key_set say their algorithm themselves".into(),
            "HS256, RS256, ES256",
        ),
        (
            "publish = [\"jwt\"]\njwt_key_set = \"file:DIR/junk\"",
            "4: auth.jwt_key_set: junk: has no key for RS256 or ES256 in it".into(),
            key_set,
        ),
        ("jwt_key_set = \"keys.json\"", "3: auth.jwt_key_set: is no http:// or https:// URL".into(), key_set),
        ("jwt_key = \"hunter2\"", "3: auth.jwt_key: names no place of a secret".into(), place),
        ("publish = [\"callback\"]", "2: auth.callback_url: none, and callback is a source".into(), url),
        ("callback_url = \"ftp://h/\"", "3: auth.callback_url: is no http:// or https:// URL".into(), url),
        ("callback_url = \"http:///x\"", "3: auth.callback_url: is no URL: invalid format".into(), url),
        (
            "publish = [\"callback\"]\ncallback_url = \"http://h/\"\ncallback_secret = \"file:DIR/short\"",
            "5: auth.callback_secret: file:short: is shorter than 16 bytes".into(),
            place,
        ),
        (
            "publish = [\"callback\"]\ncallback_url = \"https://h/\"\nca_file = \"DIR/secret\"",
            "5: auth.ca_file: secret: has no certificate in it".into(),
            "a readable PEM file, or nothing",
        ),
        (
            "callback_timeout_ms = 30000",
            "3: auth.callback_timeout_ms: 30000 is out of range".into(),
            "10 to 14000",
        ),
        ("publish = [\"nginx\"]", "2: auth.on_publish: none, nor any other on_… URL, and nginx is a source".into(), url),
        ("on_play_done = \"http://h/\"", "3: auth.on_play_done: nginx is no source of this table".into(), url),
        (
            "publish = [\"nginx\"]\non_publish = \"http://h/\"\non_play = \"http://h/\"",
            "5: auth.on_play: never asked, as nginx is no source of play".into(),
            url,
        ),
        (
            "play = [\"nginx\"]\non_publish = \"http://h/\"",
            "4: auth.on_publish: never asked, as nginx is no source of publish".into(),
            url,
        ),
        (
            "publish = [\"nginx\"]\non_publish = \"http://h/\"\nplay = [\"callback\"]\ncallback_url = \"http://h/\"",
            "3: auth.publish: nginx beside callback: a table asks one back end".into(),
            sources,
        ),
        (
            "publish = [\"nginx\", \"open\"]",
            "3: auth.publish: open is never asked, as nginx decides everything".into(),
            sources,
        ),
        ("on_update = \"localhost:8080/auth\"", "3: auth.on_update: is no URL: invalid format".into(), url),
        (
            "on_done = \"http://hunter2@h/\"",
            "3: auth.on_done: has a user or password in it, which is not supported".into(),
            url,
        ),
        ("notify_method = \"put\"", "3: auth.notify_method: \"put\" is neither post nor get".into(), "post, get"),
        (
            "notify_update_ms = 99",
            "3: auth.notify_update_ms: 99 is out of range".into(),
            "100 to 86400000",
        ),
        (
            "notify_update_strict = \"yes\"",
            "3: auth.notify_update_strict: \"yes\" is neither true nor false".into(),
            "true, false",
        ),
        ("callback_failures_max = 0", "3: auth.callback_failures_max: 0 is out of range".into(), "1 to 1000"),
        ("callback_ipv4_bits = 33", "3: auth.callback_ipv4_bits: 33 is out of range".into(), "0 to 32"),
        ("[[auth]]\napp = \"live\"", "4: auth.app: app \"live\" has such a table already".into(), app),
        ("[[auth]]\nhost = \"h\"", "3: this [[auth]] has no app".into(), app),
        ("[[key]]\nname = \"a\"", "3: this [[key]] has no sha256".into(), "64 hexadecimal digits"),
        (
            "[[key]]\nsha256 = \"hunter2\"",
            "4: key.sha256: is no SHA-256 in hexadecimal".into(),
            "64 hexadecimal digits",
        ),
        (
            "[[key]]\nsha256 = \"HASH\"\nrole = \"admin\"",
            "5: key.role: \"admin\" is no role".into(),
            "publish, play, both",
        ),
        (
            "[[key]]\nsha256 = \"HASH\"\nname = \"a\"\nstream = \"b\"",
            "6: key.stream: has a name as well: a key is said beside the name, or is the name".into(),
            "a stream's name, or nothing",
        ),
        (
            "[[key]]\nsha256 = \"HASH\"\napp = \"/live\"",
            "5: key.app: \"/live\" has slashes around it".into(),
            app,
        ),
    ]
    .map(|(rest, line, allowed): (&str, String, &str)| {
        (rest.to_owned(), format!("x.toml:{line}; allowed: {allowed}"))
    })
    .into();
    for (rest, line) in table {
        let rest = rest.replace("DIR", &directory.display().to_string()).replace("HASH", hash);
        let refused = refusal(&[], &[], Some(&format!("[[auth]]\napp = \"live\"\n{rest}\n")));
        let refused = refused.replace(&format!("{}/", directory.display()), "");
        assert_eq!(refused, line, "{rest}");
        assert!(!refused.contains("hunter2"), "no secret is repeated: {refused}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn authorisation_is_read_shown_and_compared() {
    let file = "[[key]]\nsha256 = \"F52FBD32B2B3B86FF88EF6C490628285F482AF15DDCB29541F94BCF526A3F6C7\"\nname = \"a\"\nrole = \"both\"\n\
                [[auth]]\napp = \"live\"\nhost = \"Live.Example\"\npublish = [\"static\", \"signed\"]\nplay = \"open\"\nfail = \"open\"\n\
                signed_secrets = [\"2026=env:PATH\"]\ncallback_timeout_ms = 500\nplay_deny = [\"10.0.0.0/8\"]\n[[auth]]\napp = \"*\"\n";
    let loaded = load(&[], &[], Some(file)).unwrap();
    let tables = &loaded.config.auth.tables;
    assert_eq!((tables[0].label(), tables[1].label()), ("live@live.example".into(), "*".into()));
    let shown = loaded.show();
    assert!(shown.contains("fail = \"open\"  # x.toml:10\n"), "{shown}");
    let again = load(&[], &[], Some(&shown)).expect("a valid file").config;
    assert_eq!(again.auth, loaded.config.auth);
    assert_eq!(Config::default().differences(&again), ["auth", "key"]);
}

/// Every way in which a command line or an environment can be wrong, with the line that says so.
#[test]
fn a_wrong_flag_or_variable_is_refused_by_name() {
    let flags = "--config, --rtmp, --rtmps, --rtmps-detect, --rtmps-self-signed, --http, --http-token, --cores, --placement, --log, --log-format, --help, --version";
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let table: [Case<'_>; 13] = [
        (&["--corse", "2"], &[], &format!("command line: unknown flag --corse; allowed: {flags}")),
        (&["check", "-x"], &[], &format!("command line: unknown flag -x; allowed: {flags}")),
        (
            &["sevre"],
            &[],
            "command line: unknown command \"sevre\"; allowed: serve, check, preflight, replay FILE, hash-key, sign",
        ),
        (
            &["check", "this"],
            &[],
            "command line: unknown command \"this\"; allowed: serve, check, preflight, replay FILE, hash-key, sign",
        ),
        (
            &["sign", "--app", "live"],
            &[],
            "command line: --name <NAME>, --expires-in <TIME> must be said; allowed: see inrush --help",
        ),
        (&["--cores"], &[], "command line: --cores <N> has no value; allowed: --cores <N>"),
        (&["--cores", "1", "--cores", "2"], &[], "command line: --cores <N> is given twice; allowed: once"),
        (&["--cores", "two"], &[], "--cores: \"two\" is not a whole number; allowed: 0 to 128"),
        (&["--cores", "9999"], &[], "--cores: 9999 is out of range; allowed: 0 to 128"),
        (
            &["--placement", "here"],
            &[],
            "--placement: \"here\" is no placement; allowed: accept, home, core:N",
        ),
        (
            &["--cores=1", "--placement=core:1"],
            &[],
            "--placement: placement core:1 with engine.cores = 1; allowed: core:0 to core:0",
        ),
        (
            &[],
            &[("INRUSH_LOG_FORMAT", "XML")],
            "INRUSH_LOG_FORMAT: \"XML\" is no log format; allowed: text, json",
        ),
        // Also where a flag wins: what is wrong stays wrong.
        (
            &["--cores", "2"],
            &[("INRUSH_CORES", "two")],
            "INRUSH_CORES: \"two\" is not a whole number; allowed: 0 to 128",
        ),
    ];
    for (flags, environment, line) in table {
        assert_eq!(refusal(flags, environment, None), line, "{flags:?} {environment:?}");
    }
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let environment = [("INRUSH_LOG".into(), OsString::from_vec(vec![b'i', 0xff]))];
    let NoInvocation::Wrong(error) = Invocation::parse(["inrush".into()], environment).unwrap_err() else {
        panic!("an answer");
    };
    assert_eq!(error.to_string(), "INRUSH_LOG: \"i\\xFF\" is not UTF-8; allowed: text");
}

#[test]
fn a_file_that_cannot_be_read_is_refused_by_name() {
    let directory = std::env::temp_dir().join(format!("inrush-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let refusal = |name: &str| {
        let sources = Sources { file: Some(directory.join(name)), ..Sources::default() };
        let line = Loaded::load(&sources).unwrap_err().to_string();
        line.replace(&format!("{}/", directory.display()), "")
    };
    std::fs::write(directory.join("binary"), [0xff; 8]).unwrap();
    std::fs::write(directory.join("long"), vec![b' '; (1 << 20) + 1]).unwrap();
    std::fs::write(directory.join("good"), "[engine]\ncores = 1\n").unwrap();
    let allowed = "allowed: a readable TOML file of at most 1 MiB";
    assert_eq!(
        refusal("none"),
        format!("none: cannot be read: No such file or directory (os error 2); {allowed}")
    );
    assert_eq!(refusal("binary"), format!("binary: is not UTF-8; {allowed}"));
    assert_eq!(refusal("long"), format!("long: is too long; {allowed}"));
    let good = Sources { file: Some(directory.join("good")), ..Sources::default() };
    assert_eq!(Loaded::load(&good).unwrap().config.runtime.cores, 1);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn an_unknown_variable_is_reported_and_no_error() {
    // An orchestrator makes such names for a service called inrush.
    let loaded = load(&[], &[("INRUSH_SERVICE_HOST", "10.0.0.1"), ("INRUSH_CORE", "2")], None).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "INRUSH_CORE: no such variable, ignored; see inrush --help",
            "INRUSH_SERVICE_HOST: no such variable, ignored; see inrush --help",
        ]
    );
}

#[test]
fn help_and_version_are_answers() {
    let help = refusal(&["--help"], &[], None);
    for name in [
        "--config",
        "--rtmp",
        "--rtmps ",
        "--rtmps-detect",
        "--rtmps-self-signed",
        "--http ",
        "--http-token",
        "--cores",
        "--placement",
        "--log",
        "--log-format",
        "INRUSH_RTMP",
    ] {
        assert!(help.contains(name), "{name} is missing from the help");
    }
    assert_eq!(refusal(&["--version"], &[], None).trim(), concat!("inrush ", env!("CARGO_PKG_VERSION")));
}

/// The names of the keys of an `[[app]]` table, as an error line lists them.
fn app_keys() -> String {
    schema::app::APP_KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_check_prints_is_a_file_that_means_the_same() {
    let file = "[engine]\nplacement = \"core:1\"\ndrain_seconds = 5\n[rtmp]\nlisten = \"[::]:1936\"\n\
                [log]\nfilter = \"inrush=debug,warn\"\n[[app]]\nname = \"live\"\ngop_cache = false\n[[app]]\nname = \"*\"\n";
    let loaded = load(&["--cores", "3"], &[], Some(file)).unwrap();
    let shown = loaded.show();
    assert!(shown.contains("cores = 3  # --cores\n"), "{shown}");
    assert!(shown.contains("drain_seconds = 5  # x.toml:3\n"), "{shown}");
    assert!(shown.contains("listen = \"127.0.0.1:8935\"\n"), "{shown}");
    let again = load(&[], &[], Some(&shown)).expect("a valid file");
    assert_eq!(again.config.differences(&loaded.config), Vec::<String>::new());
    assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
}

/// A certificate is read when the configuration is: what is wrong with it has a line, a file and what would be right.
#[test]
fn certificates_are_judged_at_load() {
    let directory = std::env::temp_dir().join(format!("inrush-certificates-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name).display().to_string();
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.crt")), made.cert.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    };
    pair("a.example");
    pair("b.example");
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(path("torn"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    std::fs::write(path("junk"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let file = |chain: &str, key: &str| {
        format!(
            "[tls]\nlisten = \"[::]:443\"\n[[certificate]]\nchain_file = \"{}\"\nkey_file = \"{}\"\n",
            path(chain),
            path(key)
        )
    };
    let good = load(&[], &[], Some(&file("a.example.crt", "a.example.key"))).unwrap();
    assert_eq!(good.config.runtime.tls.certificates.len(), 1);
    assert!(good.show().contains("\"  # x.toml:5\n"), "{}", good.show());
    let again = load(&[], &[], Some(&good.show())).unwrap();
    assert_eq!(again.config.differences(&good.config), Vec::<String>::new());
    assert_eq!(Config::default().differences(&good.config), ["tls.listen", "certificate"]);

    let (chain_line, key_line) = ("x.toml:4: certificate.chain_file: ", "x.toml:5: certificate.key_file: ");
    for (chain, key, start, problem, allowed) in [
        (
            "none",
            "a.example.key",
            chain_line,
            "none: cannot be read: No such file or directory (os error 2)",
            CHAIN,
        ),
        ("empty", "a.example.key", chain_line, "empty: has no certificate in it", CHAIN),
        ("torn", "a.example.key", chain_line, "torn: is not PEM: ", CHAIN),
        ("junk", "a.example.key", chain_line, "junk: its first certificate cannot be used: ", CHAIN),
        (
            "a.example.crt",
            "none",
            key_line,
            "none: cannot be read: No such file or directory (os error 2)",
            KEY,
        ),
        ("a.example.crt", "a.example.crt", key_line, "a.example.crt: has no private key in it: ", KEY),
        ("a.example.crt", "b.example.key", key_line, "b.example.key: is not the key of ", KEY),
    ] {
        let line =
            refusal(&[], &[], Some(&file(chain, key))).replace(&format!("{}/", directory.display()), "");
        assert!(line.starts_with(&format!("{start}{problem}")), "{line}");
        assert!(line.ends_with(&format!("; allowed: {allowed}")), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn switches_are_flags_without_a_value_and_variables_with_one() {
    type Read = fn(&Config) -> bool;
    let table: [(&str, &str, Read); 2] = [
        ("--rtmps-detect", "INRUSH_RTMPS_DETECT", |c| c.runtime.tls.detect),
        ("--rtmps-self-signed", "INRUSH_RTMPS_SELF_SIGNED", |c| c.runtime.tls.self_signed),
    ];
    // So that there is a certificate whichever is set.
    let certificate = Some("[tls]\nself_signed = true\n");
    for (flag, variable, read) in table {
        assert!(read(&load(&[flag], &[], certificate).unwrap().config), "{flag}");
        assert!(read(&load(&[], &[(variable, "true")], certificate).unwrap().config), "{variable}");
        assert!(!read(&load(&[], &[(variable, "false")], certificate).unwrap().config), "{variable}");
        assert_eq!(
            refusal(&[], &[(variable, "1")], certificate),
            format!("{variable}: \"1\" is neither true nor false; allowed: true, false")
        );
    }
}

#[test]
fn an_app_inherits_from_any_app_what_it_leaves_out_wherever_that_stands() {
    let file = "[[app]]\nname = \"radio\"\ngop_cache = false\n[[app]]\nname = \"*\"\ntimestamps = \"monotonic\"\n\
                [[app]]\nname = \"live\"\ntimestamps = \"pass\"\nqueue_ms_max = 1000\n";
    let apps = load(&[], &[], Some(file)).unwrap().config.runtime.apps;
    let seen = |index: usize| {
        let App { name, settings, .. } = &apps[index];
        (name.as_str(), settings.gop.enabled, settings.ingest.timestamps, settings.queue.ms_max)
    };
    assert_eq!(apps.len(), 3);
    assert_eq!(seen(0), ("radio", false, TimestampPolicy::Monotonic, 3000));
    assert_eq!(seen(1), ("live", true, TimestampPolicy::Pass, 1000));
    assert_eq!(seen(2), ("*", true, TimestampPolicy::Monotonic, 3000));
}

#[test]
fn limits_of_an_app_are_those_of_any_app_until_it_has_its_own() {
    let file = "[[app]]\nname = \"*\"\nlimit_bits_per_second = 6000000\nlimit_codecs = [\"avc1\", \"pcm\"]\n\
                [[app]]\nname = \"live\"\nlimit_bits_per_second = 0\nlimit_seconds = 60\nlimit_codecs = []\n\
                [[key]]\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\nlimit_height = 720\n";
    let loaded = load(&[], &[], Some(file)).unwrap();
    let apps = &loaded.config.runtime.apps;
    let shown: Vec<_> = apps.iter().map(|app| (app.name.as_str(), SaidLimits::from(&app.limits))).collect();
    let said = |json: &str| serde_json::from_str::<SaidLimits>(json).unwrap();
    assert_eq!(
        shown,
        [
            ("live", said(r#"{"seconds": 60}"#)),
            ("*", said(r#"{"bits_per_second": 6000000, "codecs": ["avc1", "pcm"]}"#))
        ]
    );
    assert_eq!(SaidLimits::from(&loaded.config.auth.keys[0].limits), said(r#"{"height": 720}"#));
    let again = load(&[], &[], Some(&loaded.show())).unwrap();
    assert_eq!(again.config.differences(&loaded.config), Vec::<String>::new());
}

#[test]
fn differences_are_named_key_by_key() {
    let old = load(&[], &[], Some("[[app]]\nname = \"a\"\n[[app]]\nname = \"b\"\n")).unwrap().config;
    let new = load(
        &["--cores", "2"],
        &[],
        Some("[log]\nfilter = \"warn\"\n[[app]]\nname = \"b\"\ngop_cache = false\n[[app]]\nname = \"c\"\n"),
    );
    let differences = old.differences(&new.unwrap().config);
    assert_eq!(differences, ["engine.cores", "log.filter", "app \"a\"", "app \"b\"", "app \"c\""]);
}

#[test]
fn the_sample_file_shows_every_key_at_its_default() {
    let file = include_str!("../../deploy/inrush.toml");
    if file != sample() {
        let new = concat!(env!("CARGO_MANIFEST_DIR"), "/target/inrush.toml");
        std::fs::write(new, sample()).expect("the target folder is there");
        panic!("a key has changed: look at {new}, and make it deploy/inrush.toml");
    }
    let default = format!("{:?}", Config::default());
    // As it is, and with every key that it shows taken in.
    let keys_in = file.lines().map(|line| {
        let key = line.strip_prefix("# ").filter(|rest| {
            rest.split_once(" = ")
                .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        });
        format!("{}\n", key.unwrap_or(line))
    });
    let keys_in: String = keys_in.collect();
    for text in [file, &keys_in] {
        let config = load(&[], &[], Some(text)).expect("valid").config;
        assert_eq!(format!("{config:?}"), default);
    }
    for key in schema::app::APP_KEYS.iter() {
        assert!(keys_in.lines().any(|line| line.starts_with(&format!("{} = ", key.name))), "{}", key.name);
    }
    for key in schema::TABLES.iter().flat_map(|table| table.keys) {
        assert!(keys_in.lines().any(|line| line.starts_with(&format!("{} = ", key.name))), "{}", key.name);
    }
}
