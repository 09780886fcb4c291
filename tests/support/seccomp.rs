//! Filters of system calls, loaded for real: sets of calls, and the profiles that container engines read.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::sync::OnceLock;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use serde_json::Value;

/// What a process may ask of the kernel. Everything else fails, with EPERM if nothing else is said.
#[derive(Clone, Debug)]
pub struct Filter(Vec<BpfProgram>);

/// Rules of calls; a call is let through by any of its rules, and by none always.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

impl Filter {
    /// These calls by name; those that this machine does not have are left out.
    #[track_caller]
    pub fn of_calls<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let rules = names.into_iter().filter_map(|name| Some((number(name)?, Vec::new()))).collect();
        Self(vec![allowing(rules)])
    }

    /// A profile in the form of the OCI runtime specification, as if these calls were not in it.
    #[track_caller]
    pub fn of_profile(profile: &Value, without: &[&str]) -> Self {
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(profile["defaultErrnoRet"], libc::EPERM);
        let architecture =
            if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };
        assert!(profile["architectures"].as_array().expect("a list").iter().any(|it| it == architecture));
        let mut allowed = Rules::new();
        let mut programs = Vec::new();
        for entry in profile["syscalls"].as_array().expect("a list of rules") {
            let names = entry["names"].as_array().expect("a list of names").iter();
            let names =
                names.map(|name| name.as_str().expect("a name")).filter(|name| !without.contains(name));
            let conditions: Vec<_> = entry["args"].as_array().into_iter().flatten().map(condition).collect();
            for number in names.filter_map(number) {
                match entry["action"].as_str() {
                    Some("SCMP_ACT_ALLOW") => {
                        let rules = match conditions.as_slice() {
                            [] => Vec::new(),
                            conditions => vec![SeccompRule::new(conditions.to_vec()).expect("conditions")],
                        };
                        // No rules would say that it is always let through.
                        let known = allowed.get(&number).map(Vec::is_empty);
                        assert!(known.is_none_or(|is_always| is_always == rules.is_empty()), "{entry}");
                        allowed.entry(number).or_default().extend(rules);
                    }
                    // A filter of its own. Of two errors the kernel takes that of the filter that came last, so that it is let through
                    // by the first.
                    Some("SCMP_ACT_ERRNO") => {
                        assert!(conditions.is_empty() && !allowed.contains_key(&number), "{entry}");
                        allowed.insert(number, Vec::new());
                        let errno =
                            entry["errnoRet"].as_u64().expect("an error").try_into().expect("an error");
                        let rules = [(number, Vec::new())].into();
                        programs.push(program(rules, SeccompAction::Allow, SeccompAction::Errno(errno)));
                    }
                    action => panic!("{action:?} is unknown here"),
                }
            }
        }
        programs.insert(0, allowing(allowed));
        Self(programs)
    }

    /// Holds the process that calls it to this for good. It makes system calls alone.
    pub fn load(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|program| {
            seccompiler::apply_filter(program).map_err(|_| io::Error::last_os_error())
        })
    }
}

/// What lets these through and nothing else.
fn allowing(rules: Rules) -> BpfProgram {
    program(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

fn program(rules: Rules, otherwise: SeccompAction, action: SeccompAction) -> BpfProgram {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).expect("an architecture with filters");
    let filter = SeccompFilter::new(rules, otherwise, action, architecture).expect("a filter");
    filter.try_into().expect("not more than the kernel takes")
}

/// One condition on an argument; libseccomp compares all 64 bits of it.
#[track_caller]
fn condition(argument: &Value) -> SeccompCondition {
    let number = |name: &str| argument[name].as_u64().unwrap_or(0);
    let (operator, value) = match argument["op"].as_str().expect("an operator") {
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, number("value")),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, number("value")),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, number("value")),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(number("value")), number("valueTwo")),
        operator => panic!("{operator} is unknown here"),
    };
    let index = u8::try_from(number("index")).expect("a small number");
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, operator, value).expect("one of six arguments")
}

/// The number of a call; `None` when this machine does not have it.
#[track_caller]
fn number(name: &str) -> Option<i64> {
    static NUMBERS: OnceLock<BTreeMap<String, i64>> = OnceLock::new();
    let read = || {
        let mut command = Command::new("cc");
        command.args(["-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"]);
        let output = command.output().expect("cc is installed: run .ci/setup");
        let number = |line: &str| {
            let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        String::from_utf8_lossy(&output.stdout).lines().filter_map(number).collect()
    };
    NUMBERS.get_or_init(read).get(name).copied()
}
