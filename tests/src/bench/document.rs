//! `docs/benchmarks.md`: one section a workload, each with its own place and time, so that one can be measured again alone.
//!
//! Never: a section changed that was not measured now.

use super::Workload;

/// What stands before the sections.
const PREFACE: &str = "# Benchmarks

Written by `cargo xtask bench`; run it on your machine, these figures are of another one. `cargo xtask bench w1 w4` measures those two again and leaves
the other sections as they are. All of it takes about half an hour on a quiet machine; each workload is given up after a time of its own, all of them after
75 minutes, and one that fails leaves its section as it was.

A cell is the median of the rounds, with the lowest and the highest round. Floors are measured in the same run, by turns with what they are the floor of.
Accounts are written through the store and tokens made with the node's key, since a log-in costs a fifth of a second on purpose.
";

/// The new document: `before` with these sections (id, Markdown) put in or replaced, in the workloads' order.
#[must_use]
pub fn merged(before: &str, sections: &[(String, String)]) -> String {
    let kept = before.split("\n## ").skip(1).map(|section| (id_of(section), format!("## {}\n", section.trim_end())));
    let kept = kept.filter(|(id, _)| sections.iter().all(|(new, _)| new != id));
    let mut all: Vec<(String, String)> = kept.chain(sections.iter().cloned()).collect();
    all.sort_by_key(|(id, _)| place(id));
    let bodies: Vec<String> = all.iter().map(|(_, body)| format!("\n{}\n", body.trim_end())).collect();
    format!("{PREFACE}{}", bodies.concat())
}

fn id_of(section: &str) -> String {
    section.split(':').next().unwrap_or_default().to_owned()
}

/// What is no workload of ours stands last.
fn place(id: &str) -> usize {
    Workload::ALL.iter().position(|workload| workload.name().eq_ignore_ascii_case(id)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: &str, text: &str) -> (String, String) {
        (id.to_owned(), format!("## {id}: {text}\n"))
    }

    #[test]
    fn a_section_measured_again_is_replaced_in_its_place_and_all_others_stay_as_they_are() {
        let first = merged("", &[section("W2", "import\n\nold"), section("W1", "push")]);
        let order = |text: &str| text.lines().filter(|line| line.starts_with("## ")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(order(&first), ["## W1: push", "## W2: import"]);
        let second = merged(&first, &[section("W1", "push again")]);
        assert_eq!(order(&second), ["## W1: push again", "## W2: import"]);
        assert!(second.contains("old") && second.starts_with("# Benchmarks"));
        assert_eq!(merged(&second, &[]), second, "merging nothing changes nothing");
    }
}
