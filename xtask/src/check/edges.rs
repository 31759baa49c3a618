//! The crates' edges: `protocol ← engine ← storage ← accounts, actors ← node`; `client → engine, protocol`; `fuzz → client`;
//! `tests` may import all, `xtask` none.
//!
//! Never: an edge that is not in this list, in no kind of dependency.

use anyhow::bail;
use serde_json::Value;

use crate::report::Outcome;
use crate::workspace::array;

/// Each package with what it may import of ours.
const ALLOWED: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("engine", &["protocol"]),
    ("storage", &["engine", "protocol"]),
    ("accounts", &["storage", "engine", "protocol"]),
    ("actors", &["storage", "engine", "protocol"]),
    ("node", &["accounts", "actors", "storage", "engine", "protocol"]),
    ("client", &["engine", "protocol"]),
    ("fuzz", &["client", "engine", "protocol"]),
    ("tests", &["node", "accounts", "actors", "storage", "engine", "protocol", "client"]),
    ("xtask", &[]),
];

const PREFIX: &str = "cloudsync-";

pub(crate) fn check(metadata: &Value) -> anyhow::Result<Outcome> {
    let mut wrong = Vec::new();
    let mut edges = 0;
    for package in array(&metadata["packages"]) {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(allowed, _)| name.strip_prefix(PREFIX) == Some(allowed)) else {
            wrong.push(format!("{name} is not a room of the design"));
            continue;
        };
        for dependency in array(&package["dependencies"]) {
            let Some(imported) = dependency["name"].as_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
            edges += 1;
            if !allowed.contains(&imported) && name != format!("{PREFIX}{imported}") {
                wrong.push(format!("{name} may not import {PREFIX}{imported} ({})", dependency["kind"].as_str().unwrap_or("normal")));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    Ok(Outcome::Passed(format!("{edges} edges")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(name: &str, imported: &str, kind: Option<&str>) -> anyhow::Result<Outcome> {
        check(&json!({"packages": [{"name": name, "dependencies": [{"name": imported, "kind": kind}, {"name": "serde", "kind": null}]}]}))
    }

    #[test]
    fn an_edge_of_the_design_passes_and_the_reverse_fails() {
        one("cloudsync-node", "cloudsync-accounts", None).unwrap();
        let error = one("cloudsync-accounts", "cloudsync-node", None).unwrap_err().to_string();
        assert_eq!(error, "cloudsync-accounts may not import cloudsync-node (normal)");
    }

    #[test]
    fn a_dev_dependency_is_an_edge_too() {
        let error = one("cloudsync-client", "cloudsync-storage", Some("dev")).unwrap_err().to_string();
        assert_eq!(error, "cloudsync-client may not import cloudsync-storage (dev)");
    }

    #[test]
    fn xtask_imports_none_of_ours_and_a_crate_that_nobody_planned_is_named() {
        one("cloudsync-xtask", "cloudsync-protocol", None).unwrap_err();
        assert_eq!(one("cloudsync-extra", "serde", None).unwrap_err().to_string(), "cloudsync-extra is not a room of the design");
    }
}
