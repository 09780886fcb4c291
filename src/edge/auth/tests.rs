//! Tables against whole questions, and the edge with real back ends.

use std::sync::Arc;

use super::nginx::NginxSettings;
use super::rules::{Rules, Said};
use super::settings::{AuthSettings, AuthTable, Source};
use super::static_keys::{StaticKey, hash};
use crate::runtime::observe::ConnectionId;
use crate::runtime::outside::{Action, Facts, Manner, Question, Ticket, Verdict, Wish};
use crate::session::{PublishKind, StreamKey};

/// A question of a publisher.
pub(crate) fn question(app: &str, name: &str, params: &str) -> Question {
    let facts = Facts {
        connection: ConnectionId(17),
        peer: "192.0.2.7:50412".parse().unwrap(),
        tls: true,
        server_name: Some("sni.example".into()),
        host: Some("live.example.org".into()),
        tc_url: "rtmps://live.example.org/live".into(),
        flash_ver: "FMLE/3.0".into(),
        swf_url: "http://h/player.swf".into(),
        page_url: String::new(),
        params: params.into(),
        wish: Some(Wish { stream: StreamKey::new(app, name), manner: Manner::Publish(PublishKind::Live) }),
    };
    Question {
        ticket: Ticket::for_test(),
        action: Action::Publish,
        stream: StreamKey::new(app, name),
        facts: Arc::new(facts),
    }
}

fn table(app: &str, host: &str, publish: &[Source]) -> AuthTable {
    AuthTable { app: app.into(), host: host.into(), publish: publish.to_vec(), ..AuthTable::default() }
}

/// What is said at once: `+`, a denial's label, or the source that is to be asked.
fn said(rules: &Rules, question: &Question) -> String {
    match rules.ask(question) {
        Said::Verdict(Verdict::Allow(_)) => "+".into(),
        Said::Verdict(Verdict::Deny(denial)) => denial.label.into(),
        Said::Later { table, source } => format!("{table} {}", source.name()),
    }
}

fn with_keys(tables: Vec<AuthTable>) -> AuthSettings {
    let key = StaticKey { sha256: hash("sesame"), ..StaticKey::default() };
    AuthSettings { tables, keys: vec![key] }
}

#[test]
fn without_tables_everybody_may() {
    assert_eq!(said(&Rules::new(&AuthSettings::default()).unwrap(), &question("live", "test", "")), "+");
}

/// The host counts before the app, an exact one before any; what nothing covers is denied.
#[test]
fn the_table_that_fits_best_is_asked() {
    let deny =
        |app, host| AuthTable { callback_url: "http://h/".into(), ..table(app, host, &[Source::Callback]) };
    let settings = with_keys(vec![
        deny("*", ""),
        deny("live", ""),
        deny("*", "sni.example"),
        deny("live", "SNI.example"),
        deny("radio", "other.example"),
    ]);
    let rules = Rules::new(&settings).unwrap();
    assert_eq!(said(&rules, &question("live", "test", "")), "3 callback");
    assert_eq!(said(&rules, &question("x", "test", "")), "2 callback");
    let elsewhere = |app| {
        let mut question = question(app, "test", "");
        let facts = Facts { host: None, server_name: None, ..(*question.facts).clone() };
        question.facts = Arc::new(facts);
        question
    };
    assert_eq!(said(&rules, &elsewhere("live")), "1 callback");
    assert_eq!(said(&rules, &elsewhere("radio")), "0 callback");
    let only = Rules::new(&with_keys(vec![deny("live", "other.example")])).unwrap();
    assert_eq!(said(&only, &question("live", "test", "")), "no_table");
}

/// A source with a credential of its kind decides; without one the next is asked; at the end the answer is no.
#[test]
fn sources_are_asked_in_their_order() {
    let rules = |publish: &[Source]| {
        let mut table = table("live", "", publish);
        table.callback_url = "http://h/".into();
        table.jwt_key_set = Some(super::jwt::KeySetPlace::Url("http://h/".into()));
        Rules::new(&with_keys(vec![table])).unwrap()
    };
    use Source::{Callback, Jwt, Open, Static};
    for (sources, params, expected) in [
        (&[Static, Jwt, Callback][..], "key=sesame&jwt=x", "+"),
        (&[Static, Jwt, Callback], "key=wrong&jwt=x", "key_wrong"),
        (&[Static, Jwt, Callback], "jwt=x", "0 jwt"),
        (&[Static, Jwt, Callback], "jwt=", "0 callback"),
        (&[Static, Jwt, Callback], "", "0 callback"),
        (&[Jwt, Static], "key=sesame&jwt=x", "0 jwt"),
        (&[Static, Jwt], "", "no_credential"),
        (&[Static, Open], "", "+"),
        (&[Static, Open], "key=wrong", "key_wrong"),
        (&[], "key=sesame", "no_credential"),
    ] {
        assert_eq!(
            said(&rules(sources), &question("live", "test", params)),
            expected,
            "{sources:?} {params}"
        );
    }
    let play = Question { action: Action::Play, ..question("live", "test", "key=wrong") };
    assert_eq!(said(&rules(&[Static]), &play), "+", "playing has sources of its own");
}

/// Networks come before all sources.
#[test]
fn a_denied_network_is_not_asked_for_credentials() {
    let mut table = table("live", "", &[Source::Static]);
    table.publish_access.deny = vec!["192.0.2.0/24".parse().unwrap()];
    let rules = Rules::new(&with_keys(vec![table])).unwrap();
    assert_eq!(said(&rules, &question("live", "test", "key=sesame")), "address_denied");
    let play = Question { action: Action::Play, ..question("live", "test", "") };
    assert_eq!(said(&rules, &play), "+");
}

/// The name asked for in TLS is what the certificate was shown for; beside it the tcUrl counts for nothing.
#[test]
fn the_host_of_tls_decides_where_there_is_one() {
    let rules = Rules::new(&with_keys(vec![
        table("live", "", &[Source::Static]),
        table("live", "live.example.org", &[Source::Open]),
        table("live", "sni.example", &[]),
    ]))
    .unwrap();
    let both = question("live", "test", "");
    assert_eq!(said(&rules, &both), "no_credential");
    let with = |server_name: Option<&str>| {
        let facts = Facts {
            server_name: server_name.map(str::to_owned),
            params: "key=wrong".into(),
            ..(*both.facts).clone()
        };
        Question { facts: Arc::new(facts), ..question("live", "test", "") }
    };
    assert_eq!(said(&rules, &with(Some("other.example"))), "key_wrong", "the table without a host");
    assert_eq!(said(&rules, &with(None)), "+", "the tcUrl's");
}

#[test]
fn hosts_that_differ_in_their_sources_are_told_of() {
    use Source::{Open, Static};
    let unequal = |tables: &[AuthTable]| super::rules::unequal_hosts(tables).join(",");
    for (tables, expected) in [
        (vec![table("live", "", &[Static])], ""),
        (vec![table("live", "", &[Static]), table("*", "", &[Open])], ""),
        (vec![table("live", "", &[Static]), table("live", "a", &[Static])], ""),
        (vec![table("live", "", &[Static]), table("live", "a", &[Open])], "live"),
        (vec![table("live", "a", &[Static]), table("live", "b", &[Open])], "live"),
        (vec![table("live", "", &[Static]), table("*", "a", &[Open])], "live"),
        (vec![table("live", "a", &[Static]), table("*", "", &[Open])], "live"),
    ] {
        assert_eq!(unequal(&tables), expected, "{tables:?}");
    }
}

/// As with nginx-rtmp, who is not asked about may; `on_connect` is asked about everybody. Sessions are told of where the table is, whoever let them in.
#[test]
fn the_dialect_is_asked_where_it_has_a_url() {
    let rules = |set: &dyn Fn(&mut NginxSettings)| {
        let mut table = table("live", "", &[Source::Static, Source::Nginx]);
        table.play = vec![Source::Nginx];
        set(&mut table.nginx);
        Rules::new(&with_keys(vec![table, self::table("*", "", &[Source::Open])])).unwrap()
    };
    let publish = question("live", "test", "");
    let play = Question { action: Action::Play, ..question("live", "test", "") };
    let on = |set: &dyn Fn(&mut NginxSettings)| (said(&rules(set), &publish), said(&rules(set), &play));
    let (asked, open) = ("0 nginx".to_owned(), "+".to_owned());
    assert_eq!(on(&|nginx| nginx.on_publish = "http://h/".into()), (asked.clone(), open.clone()));
    assert_eq!(on(&|nginx| nginx.on_play = "http://h/".into()), (open.clone(), asked.clone()));
    assert_eq!(on(&|nginx| nginx.on_connect = "http://h/".into()), (asked.clone(), asked));
    assert_eq!(on(&|nginx| nginx.on_done = "http://h/".into()), (open.clone(), open));
    let rules = rules(&|nginx| nginx.on_done = "http://h/".into());
    assert_eq!(said(&rules, &question("live", "test", "key=wrong")), "key_wrong");
    assert!(rules.has_dialect() && rules.dialect_of(&publish.facts).is_some());
    assert!(rules.dialect_of(&question("other", "test", "").facts).is_none());
}
